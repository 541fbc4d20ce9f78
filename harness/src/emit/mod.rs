//! Programs that show a case without sockspec.
