"""What convcache and its emulator claim, measured: each module is a command, `python -m benchmarks.NAME`."""
