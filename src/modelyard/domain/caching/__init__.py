"""Answers that are given again: what may be, under which key, for how long, and to whom.

* `question`  reads a request: its exact key, whether it may be cached, the part that is compared
  by meaning
* `worth`     whether an answer may be kept
* `store`     entries of many tenants within one bound of memory
* `flights`   equal requests at the same time share one upstream call
* `semantic`  questions that mean the same, by the distance of their embeddings

Nothing here is shared between tenants: every key begins with one.
"""
