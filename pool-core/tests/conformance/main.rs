//! The conformance check: good managers pass, and for every rule there is a manager that breaks it and is found out.

mod bad;
mod faulty;
mod sockets;
#[path = "../support/mod.rs"]
mod support;
