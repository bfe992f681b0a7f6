"""What a script may use: `napari_medsamq` loads each when it is first asked for."""

from .analysis.comparison import Agreement as Agreement
from .analysis.statistics import LabelStatistics as LabelStatistics
from .errors import ChoiceError as ChoiceError
from .errors import MedSAMQError as MedSAMQError
from .errors import ModelError as ModelError
from .errors import PromptError as PromptError
from .errors import ProvenanceError as ProvenanceError
from .errors import SaveError as SaveError
from .errors import UnevenSlicesError as UnevenSlicesError
from .errors import VolumeError as VolumeError
from .inference.engine import Engine as Engine
from .inference.model_list import ListedModel as ListedModel
from .inference.model_list import list_models as list_models
from .inference.model_list import load_engine as load_engine
from .inference.preprocess import WindowLevel as WindowLevel
from .inference.slice_predictor import SliceMask as SliceMask
from .io.labels import LabelFile as LabelFile
from .io.labels import read_label as read_label
from .io.volume import Volume as Volume
from .io.volume import read_volume as read_volume
from .io.volume import volume_from_array as volume_from_array
from .prompts import BoxPrompt as BoxPrompt
from .prompts import BoxPrompt3D as BoxPrompt3D
from .prompts import Click as Click
from .workflows.labels import compare_labels as compare_labels
from .workflows.labels import label_statistics as label_statistics
from .workflows.labels import save as save
from .workflows.labels import write_label as write_label
from .workflows.open_session import open_session as open_session
from .workflows.session import SegmentedSlices as SegmentedSlices
from .workflows.session import Session as Session

__version__: str
