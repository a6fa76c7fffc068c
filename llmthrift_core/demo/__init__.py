"""The workload of the demonstrations: an online shop's assistant. Independent of any framework."""

from llmthrift_core.demo.workload import WorkItem, Workload, load_workload

__all__ = ["WorkItem", "Workload", "load_workload"]
