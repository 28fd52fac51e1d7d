;; Merges the given patch into the primary object; a refusal of it becomes a failure for now, but an object that is
;; gone is done.
(if (i32.eqz (i32.load8_u (i32.add (local.get $request) (i32.const 48)))) (then (return (i32.const 1024))))
(call $patch
  (i32.load (i32.add (local.get $request) (i32.const 8))) (i32.load (i32.add (local.get $request) (i32.const 12)))
  (i32.load (i32.add (local.get $request) (i32.const 16))) (i32.load (i32.add (local.get $request) (i32.const 20)))
  (i32.load (i32.add (local.get $request) (i32.const 24))) (i32.load (i32.add (local.get $request) (i32.const 28)))
  (i32.load (i32.add (local.get $request) (i32.const 32))) (i32.load (i32.add (local.get $request) (i32.const 36)))
  (i32.load (i32.add (local.get $request) (i32.const 40))) (i32.load (i32.add (local.get $request) (i32.const 44)))
  (i32.const 1) (i32.const $patch_at) (i32.const $patch_len)
  (i32.const 1136))
(if (result i32) (i32.load8_u (i32.const 1136))
  (then
    (i32.store8 (i32.const 1200) (i32.const 1))
    (i32.store8 (i32.const 1208) (i32.const 0))
    (i32.store (i32.const 1212) (i32.load (i32.const 1144)))
    (i32.store (i32.const 1216) (i32.load (i32.const 1148)))
    (i32.const 1200))
  (else (i32.const 1024)))
