"""The analyzer of the conversion tool: which hop, version or option is at fault, and what a crash is due to."""
