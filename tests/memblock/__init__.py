"""The boot memory allocator from Python."""
