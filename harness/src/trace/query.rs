//! Questions that checks ask of a trace.
