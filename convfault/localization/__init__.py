"""Where and why a target model differs from its source: alignment, analyzers, effects."""
