"""Fixtures that several rooms share."""

from tests.support.mlflow_server import mlflow_server
from tests.support.released import champion, judged_model, mlflow, mlflow_database
from tests.support.s3 import s3, s3_server

__all__ = ["champion", "judged_model", "mlflow", "mlflow_database", "mlflow_server", "s3", "s3_server"]
