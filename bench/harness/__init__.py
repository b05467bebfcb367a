"""What scripts/bench is made of: servers under test, load runs, suites, tables. Standard library only."""
