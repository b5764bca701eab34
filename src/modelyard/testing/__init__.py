"""What plugins and users test against: memory stores, an echo engine, contract suites."""
