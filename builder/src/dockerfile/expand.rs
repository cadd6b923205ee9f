//! Variables, quotes and escapes.
