;; Every word beyond the image must be zero and every entry of the table null; then all of it is filled.
(if (global.get $seen) (then unreachable))
(global.set $seen (i32.const 1))
(if (i32.eq (memory.grow (i32.const 60)) (i32.const -1)) (then unreachable))
(local.set $i (i32.const 65536))
(loop $look
  (if (i64.ne (i64.load (local.get $i)) (i64.const 0)) (then unreachable))
  (local.set $i (i32.add (local.get $i) (i32.const 8)))
  (br_if $look (i32.lt_u (local.get $i) (i32.mul (memory.size) (i32.const 65536)))))
(if (i32.eq (table.grow $left (ref.null func) (i32.const 5000)) (i32.const -1)) (then unreachable))
(local.set $i (i32.const 0))
(loop $entries
  (if (i32.eqz (ref.is_null (table.get $left (local.get $i)))) (then unreachable))
  (local.set $i (i32.add (local.get $i) (i32.const 1)))
  (br_if $entries (i32.lt_u (local.get $i) (table.size $left))))
(memory.fill (i32.const 65536) (i32.const CANARY)
  (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 65536)))
(table.fill $left (i32.const 0) (ref.func $canary) (table.size $left))
(i32.const 1024)
