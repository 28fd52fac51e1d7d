;; Wants a WASI that the host does not offer.
(component
  (import "wasi:filesystem/preopens@0.3.0" (instance (export "open" (func (result u32))))))
