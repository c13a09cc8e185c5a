"""The embedded JSON API that the demo and the tests run against."""
