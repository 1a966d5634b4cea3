"""The routes: each reads a request, lets its noun do the work, and shows the answer as the API does."""
