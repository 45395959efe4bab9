"""Submissions: a method's bundle, its verification, and what the results folder says of it."""
