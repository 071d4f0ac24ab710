"""The package's description; dependencies are those of requirements.txt, tool settings those of pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent

setup(
    name="yolact",
    version="0.2.0",
    description="YOLACT: real-time instance segmentation, to train, evaluate and use",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="The YOLACT project authors",
    license="MIT",
    license_files=["LICENSE"],
    python_requires=">=3.10",
    # The configurations travel in the package, so that `yolact train --config yolact_resnet50` works without the clone.
    packages=[*find_packages(include=["yolact", "yolact.*"]), "yolact.configs"],
    package_dir={"yolact.configs": "configs"},
    package_data={
        "yolact": ["py.typed", "tools/templates/*"],
        "yolact.configs": ["*.yaml", "*/*.yaml"],
    },
    entry_points={"console_scripts": ["yolact = yolact.cli:main"]},
    install_requires=(ROOT / "requirements.txt").read_text(encoding="utf-8").split(),
    extras_require={
        "log": ["tensorboard"],
        "fasteval": ["hotcoco"],
        "sbd": ["scipy"],
        "supervision": ["supervision>=0.26"],  # Instances.to_supervision
        "track": ["trackers", "supervision"],  # yolact predict --track
        "export": ["onnx", "onnxscript", "onnxruntime"],
        "openvino": ["openvino", "onnx", "onnxscript"],  # yolact predict --runtime openvino
        "tensorrt": ["tensorrt", "onnx", "onnxscript"],
        "int8": ["nncf", "onnx", "onnxscript", "onnxruntime"],  # yolact export --precision int8
        "convert": ["datumaro>=1.12"],  # yolact convert datumaro
        "demo": ["gradio>=6"],
        "video": ["av>=14"],  # H.264 video
        "large": ["rasterio"],  # images of more than 100 megapixels, by tiles; TIFF of unusual samples
        "heif": ["pillow-heif"],  # HEIC, the images of phones
        "weights": ["huggingface_hub>=0.30"],
        "timm": ["timm"],  # model.backbone.name=timm/NAME
        "notebooks": ["jupyterlab", "ipykernel"],
        "dev": [
            *("pytest", "pytest-xdist", "hypothesis", "ruff", "mypy", "types-PyYAML", "tensorboard", "scipy"),
            *("onnx", "onnxscript", "onnxruntime", "openvino", "nncf", "nbclient", "ipykernel", "rasterio"),
            *("hotcoco", "supervision>=0.26", "trackers", "gradio>=6", "av>=14", "huggingface_hub>=0.30", "timm"),
            "pillow-heif",
        ],
    },
    keywords="instance segmentation, real-time, computer vision, PyTorch, COCO",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Image Recognition",
        "Typing :: Typed",
    ],
)
