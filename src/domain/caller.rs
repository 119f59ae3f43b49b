//! Who is asking, after authentication.

use std::sync::Arc;

/// The party behind a request and what it may do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Caller {
    principal: Arc<str>,
    may_operate: bool,
}

impl Caller {
    /// Somebody we know nothing about, on a listener that others can reach.
    pub fn anonymous() -> Self {
        Self { principal: "anonymous".into(), may_operate: false }
    }

    /// Somebody on a listener bound to loopback: the machine's own users may operate it.
    pub fn local() -> Self {
        Self { principal: "local".into(), may_operate: true }
    }

    /// Ourselves, at the start of the process.
    pub fn system(part: &str) -> Self {
        Self { principal: format!("system:{part}").into(), may_operate: true }
    }

    /// The name that goes into journal and records.
    pub fn principal(&self) -> &str {
        &self.principal
    }

    /// Whether it has the scope `operate:<model>`.
    pub fn may_operate(&self) -> bool {
        self.may_operate
    }
}
