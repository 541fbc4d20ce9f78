//! The server under test, running: how it is launched, what it writes.
