"""wasnap: snapshots of running WebAssembly processes."""
