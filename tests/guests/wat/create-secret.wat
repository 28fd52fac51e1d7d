;; Tries to create a Secret, and fails for now with the words of the refusal.
(call $create
  (i32.const 0) (i32.const 0) (i32.const $version_at) (i32.const $version_len)
  (i32.const $resource_at) (i32.const $resource_len) (i32.const $object_at) (i32.const $object_len)
  (i32.const 1136))
(if (result i32) (i32.load8_u (i32.const 1136))
  (then
    (i32.store8 (i32.const 1200) (i32.const 1))
    (i32.store8 (i32.const 1208) (i32.const 0))
    (i32.store (i32.const 1212) (i32.load (i32.const 1144)))
    (i32.store (i32.const 1216) (i32.load (i32.const 1148)))
    (i32.const 1200))
  (else (i32.const 1024)))
