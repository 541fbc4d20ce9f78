//! sockspec: a socket-API conformance test harness.
