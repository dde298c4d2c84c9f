"""Unpacks LiveCodeBench's private tests: base64, zlib, and a pickle of JSON text. In the sandbox: a pickle is a program."""

import base64
import json
import pickle
import sys
import zlib

text = pickle.loads(zlib.decompress(base64.b64decode(sys.stdin.buffer.read())))
json.loads(text)
sys.stdout.write(text)
