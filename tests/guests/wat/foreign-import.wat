;; Wants an interface that no plugin gets.
(component
  (import "acme:secrets/vault@1.0.0" (instance (export "open" (func (result u32))))))
