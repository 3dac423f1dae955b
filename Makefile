# Thin names for the jobs in tasks.py. Another interpreter: make test PYTHON=python3.12
PYTHON ?= python3

.PHONY: bench test gpu gpu-measure gpu-more gpu-wheels lint clean
bench test gpu gpu-measure gpu-more gpu-wheels lint clean:
	@$(PYTHON) tasks.py $@
