;; Exports the right names with the wrong types.
(component
  (core module $m
    (func (export "describe") (result i32) (i32.const 0))
    (func (export "reconcile") (param i32) (result i32) (i32.const 0)))
  (core instance $i (instantiate $m))
  (func $describe (result u32) (canon lift (core func $i "describe")))
  (func $reconcile (param "request" u32) (result u32) (canon lift (core func $i "reconcile")))
  (instance $controller
    (export "describe" (func $describe))
    (export "reconcile" (func $reconcile)))
  (export "quadrille:controller/controller@0.1.0" (instance $controller)))
