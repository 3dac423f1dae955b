"""Sharma and Kaplan's law: the loss of a student falls as N^-alpha, alpha about 4/d.

"A Neural Scaling Law from the Dimension of the Data Manifold" (arXiv:2004.10802; JMLR 23, 2022).
A random teacher network sees d of 20 inputs; students of seven widths learn what it says.

    python -m nnx.benchmarks.teacher_law --out FOLDER
"""

from nnx.benchmarks.teacher_law.record import TeacherLaw, read_teacher_law, write_teacher_law
from nnx.benchmarks.teacher_law.settings import Settings, Stage
from nnx.benchmarks.teacher_law.study import run_teacher_law

__all__ = [
    "Settings",
    "Stage",
    "TeacherLaw",
    "read_teacher_law",
    "run_teacher_law",
    "write_teacher_law",
]
