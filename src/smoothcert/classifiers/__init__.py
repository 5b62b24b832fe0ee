"""Any model behind one small protocol, loaded without running untrusted code."""

from smoothcert.classifiers.loading import load_classifier as load_classifier
from smoothcert.classifiers.protocol import Classifier as Classifier
