//! What a run sees, what it may do, and what it commits.
