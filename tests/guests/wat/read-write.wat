;; Reads the primary object, then writes a random number into data.n of it.
(call $get
  (i32.load (i32.add (local.get $request) (i32.const 8))) (i32.load (i32.add (local.get $request) (i32.const 12)))
  (i32.load (i32.add (local.get $request) (i32.const 16))) (i32.load (i32.add (local.get $request) (i32.const 20)))
  (i32.load (i32.add (local.get $request) (i32.const 24))) (i32.load (i32.add (local.get $request) (i32.const 28)))
  (i32.load (i32.add (local.get $request) (i32.const 32))) (i32.load (i32.add (local.get $request) (i32.const 36)))
  (i32.load (i32.add (local.get $request) (i32.const 40))) (i32.load (i32.add (local.get $request) (i32.const 44)))
  (i32.const 1100))
(local.set $n (call $random))
(loop $digits
  ;; One letter from a to p for each four bits.
  (i32.store8
    (i32.add (i32.add (i32.const $patch_at) (i32.const 14)) (local.get $i))
    (i32.add (i32.const 97) (i32.and (i32.wrap_i64 (local.get $n)) (i32.const 15))))
  (local.set $n (i64.shr_u (local.get $n) (i64.const 4)))
  (local.set $i (i32.add (local.get $i) (i32.const 1)))
  (br_if $digits (i32.lt_u (local.get $i) (i32.const 16))))
(call $patch
  (i32.load (i32.add (local.get $request) (i32.const 8))) (i32.load (i32.add (local.get $request) (i32.const 12)))
  (i32.load (i32.add (local.get $request) (i32.const 16))) (i32.load (i32.add (local.get $request) (i32.const 20)))
  (i32.load (i32.add (local.get $request) (i32.const 24))) (i32.load (i32.add (local.get $request) (i32.const 28)))
  (i32.load (i32.add (local.get $request) (i32.const 32))) (i32.load (i32.add (local.get $request) (i32.const 36)))
  (i32.load (i32.add (local.get $request) (i32.const 40))) (i32.load (i32.add (local.get $request) (i32.const 44)))
  (i32.const 1) (i32.const $patch_at) (i32.const $patch_len)
  (i32.const 1136))
;; A refusal of the write becomes a failure for now with the refusal's own message.
(if (result i32) (i32.load8_u (i32.const 1136))
  (then
    (i32.store8 (i32.const 1200) (i32.const 1))
    (i32.store8 (i32.const 1208) (i32.const 0))
    (i32.store (i32.const 1212) (i32.load (i32.const 1144)))
    (i32.store (i32.const 1216) (i32.load (i32.const 1148)))
    (i32.const 1200))
  (else (i32.const 1024)))
