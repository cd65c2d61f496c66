"""Arrays that say they lie on a GPU: host memory behind a DLPack capsule with a CUDA device in it.

What torch and cupy hand out, for machines without a GPU.
"""

from __future__ import annotations

import ctypes

import numpy as np

CUDA = 2
NAMES = (b"dltensor", b"dltensor_versioned")
DTYPES = {(0, 64): np.int64, (2, 32): np.float32}  # DLPack's code and bits

_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype, _pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
_is_valid = ctypes.pythonapi.PyCapsule_IsValid
_is_valid.restype, _is_valid.argtypes = ctypes.c_int, [ctypes.py_object, ctypes.c_char_p]


class Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


def tensor_of(capsule) -> Tensor:
    versioned = bool(_is_valid(capsule, NAMES[1]))
    address = _pointer(capsule, NAMES[versioned]) + (32 if versioned else 0)
    return Tensor.from_address(address)


class OnGpu:
    """A numpy array as one on cuda:NUMBER; `streams` are those that consumers named."""

    def __init__(self, array, number=0, code=None, old=False):
        self.array, self.number, self.code, self.old = array, number, code, old
        self.streams = []

    def __dlpack_device__(self):
        return (CUDA, self.number)

    def __dlpack__(self, *, stream=None, **options):
        if self.old and options:
            raise TypeError(f"unexpected {options}")
        self.streams.append(stream)
        capsule = self.array.__dlpack__(**options)
        tensor = tensor_of(capsule)
        tensor.device_type, tensor.device_id = CUDA, self.number
        if self.code is not None:
            tensor.code = self.code
        return capsule


def read_back(x) -> np.ndarray:
    """The values of such an array, and of those that nearcell makes."""
    assert x.__dlpack_device__() == (CUDA, 0)
    capsule = x.__dlpack__(stream=1, max_version=(1, 0), dl_device=None, copy=None)
    tensor = tensor_of(capsule)
    assert (tensor.device_type, tensor.device_id, tensor.lanes) == (CUDA, 0, 1)
    shape = tuple(tensor.shape[: tensor.ndim])
    dtype = np.dtype(DTYPES[tensor.code, tensor.bits])
    count = int(np.prod(shape)) * dtype.itemsize
    raw = ctypes.string_at(tensor.data + tensor.byte_offset, count)
    return np.frombuffer(raw, dtype).reshape(shape)
