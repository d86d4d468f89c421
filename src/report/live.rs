//! The moving status line on a terminal, redrawn in place below the lines that stay.
