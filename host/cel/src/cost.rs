//! placeholder
use crate::ast::Ast;
use crate::check::Checked;
use crate::environment::Environment;
/// Costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CostEstimate {
    /// least
    pub min: u64,
    /// most
    pub max: u64,
}
pub(crate) fn estimate(_ast: &Ast, _checked: &Checked, _environment: &Environment) -> CostEstimate {
    CostEstimate { min: 0, max: 0 }
}
