"""Any model behind one small protocol, loaded without running a stranger's code."""

from smoothcert.classifiers.loading import load_classifier as load_classifier
from smoothcert.classifiers.protocol import Classifier as Classifier
