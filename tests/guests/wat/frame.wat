;; The frame of every guest: imports, memory with the description in it, a bump allocator, the two exports.
(module
  (import "quadrille:controller/objects@0.1.0" "get" (func $get
    (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
  (import "quadrille:controller/objects@0.1.0" "list-objects" (func $list (param i32 i32)))
  (import "quadrille:controller/objects@0.1.0" "create" (func $create
    (param i32 i32 i32 i32 i32 i32 i32 i32 i32)))
  (import "quadrille:controller/objects@0.1.0" "patch" (func $patch
    (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
  (import "quadrille:controller/random@0.1.0" "next" (func $random (result i64)))
  (import "quadrille:controller/clock@0.1.0" "now" (func $now (result i64)))
  (import "quadrille:controller/log@0.1.0" "write" (func $log (param i32 i32 i32)))
  (memory (export "memory") PAGES)
  (global $heap (mut i32) (i32.const HEAP))
  ;; 1024: ok(done). The other answers are written where they are made.
  (data (i32.const 2048) "IMAGE")
  (func (export "cabi_realloc") (param $old i32) (param $old_size i32) (param $align i32) (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
    (global.set $heap (i32.add (local.get $at) (local.get $size)))
    (block $fits
      (br_if $fits (i32.le_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536))))
      (br_if $fits (i32.ne (i32.const -1) (memory.grow (i32.add (i32.const 1) (i32.div_u (local.get $size) (i32.const 65536))))))
      (unreachable))
    (memory.copy (local.get $at) (local.get $old) (local.get $old_size))
    (local.get $at))
  ;;DEFINITIONS
  (func (export "quadrille:controller/controller@0.1.0#describe") (result i32)
    ;;REQUEST-DESCRIBE
    (i32.const DESCRIPTION))
  (func (export "quadrille:controller/controller@0.1.0#reconcile") (param $request i32) (result i32)
    (local $i i32) (local $n i64)
    ;;REQUEST-RECONCILE
  ))
