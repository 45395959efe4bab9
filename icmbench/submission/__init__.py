"""Submissions: a method's bundle, its verification, and its entry in the results folder."""
