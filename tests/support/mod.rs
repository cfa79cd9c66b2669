//! What tests share.

pub(crate) mod early;
pub(crate) mod events;
pub(crate) mod gateway;
pub(crate) mod http;
pub(crate) mod http2;
pub(crate) mod modern;
pub(crate) mod proc;
pub(crate) mod records;
pub(crate) mod relay;
pub(crate) mod session;
pub(crate) mod tokens;
