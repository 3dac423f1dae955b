# Thin names for the jobs in tasks.py. Another interpreter: make test PYTHON=python3.12
PYTHON ?= python3

.PHONY: bench test gpu lint clean
bench test gpu lint clean:
	@$(PYTHON) tasks.py $@
