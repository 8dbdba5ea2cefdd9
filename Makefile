# What a newcomer types. `make quickstart` and `make test` need nothing but Debian, Ubuntu and root or sudo.
BUILD ?= build
JOBS ?= $(shell nproc)
NVCC ?= $(shell command -v nvcc || ls /usr/local/cuda/bin/nvcc 2>/dev/null)
CXX_FILES = $(shell git ls-files 'src/*.h' 'src/*.cpp' 'src/*.cu' 'src/*.cuh' 'tests/*.h' 'tests/*.cpp' 'bench/*.cpp')
# Where the system's compiler or CMake is too old, tools/install_deps.sh puts newer ones here.
export PATH := $(CURDIR)/.venv/tools:$(PATH)

.PHONY: all wheel release site quickstart build layer test bench format check-changed fuzz tidy torture test-sanitize install-deps test-gpu test-peers clean

all: build

quickstart: build
	tools/quickstart.sh $(BUILD)

install-deps:
	tools/install_deps.sh

# pyarrow brings the Arrow libraries that reading parquet stands on. Where it cannot be had the program is built
# without them and says so when it meets parquet; remove .venv/pyarrow to try again.
.venv/pyarrow:
	@tools/python_env.sh pyarrow || echo "pyarrow could not be installed: building without parquet"
	@mkdir -p .venv && touch $@

# Where nvcc is, the headers that cuDNN's attention is used through.
.venv/cudnn-frontend:
	@if [ -n "$(NVCC)" ]; then tools/python_env.sh --no-deps nvidia-cudnn-frontend || \
	  echo "nvidia-cudnn-frontend could not be installed: attention on GPUs will be slow"; fi
	@mkdir -p .venv && touch $@

# The documentation as a site, in out/site.
.venv/mkdocs:
	@tools/python_env.sh mkdocs || echo "mkdocs could not be installed: the site is not built"
	@mkdir -p .venv && touch $@

site: .venv/mkdocs
	.venv/bin/mkdocs build --strict --quiet

$(BUILD)/build.ninja: .venv/pyarrow .venv/cudnn-frontend | install-deps
	cmake -S . -B $(BUILD) -G Ninja -DCMAKE_BUILD_TYPE=Release $(CMAKE_FLAGS)

build: install-deps $(BUILD)/build.ninja
	cmake --build $(BUILD) --target sft -j $(JOBS)

# Ops, optimizer, trainer, ranks and the reference runs on a GPU, in float32, bfloat16 and float16; what needs two
# GPUs runs where there are two.
test-gpu: build
	cmake --build $(BUILD) --target ops_test optim_test trainer_test sharding_test comm_test golden_test -j $(JOBS)
	SFT_TEST_CUDA=1 $(BUILD)/tests/ops/ops_test --gtest_brief=1
	SFT_TEST_CUDA=1 $(BUILD)/tests/optim/optim_test --gtest_brief=1
	SFT_TEST_CUDA=1 $(BUILD)/tests/train/trainer_test --gtest_brief=1
	SFT_TEST_CUDA=1 $(BUILD)/tests/train/sharding_test --gtest_brief=1
	SFT_TEST_CUDA=1 $(BUILD)/tests/comm/comm_test --gtest_filter='Nccl*:CopyEngines*' --gtest_brief=1
	SFT_TEST_CUDA=1 $(BUILD)/tests/golden/golden_test --gtest_brief=1

test: install-deps $(BUILD)/build.ninja .venv/mkdocs
	cmake --build $(BUILD) -j $(JOBS)
	ctest --test-dir $(BUILD) --output-on-failure -j $(JOBS)

# One folder of src/ and its tests: make layer L=io
layer: install-deps $(BUILD)/build.ninja
	cmake --build $(BUILD) --target layer_$(L) -j $(JOBS)
	ctest --test-dir $(BUILD) -L '^$(L)$$' --output-on-failure -j $(JOBS)

# Tokens per second of this program and of the Hugging Face Trainer on the same cores, in one interleaved run.
bench: build
	tools/python_env.sh torch transformers accelerate
	bench/cpu.sh $(BUILD)/sft

# A wheel that runs on every Linux since 2020 (glibc 2.31), and with it a tarball, a Debian package, sums and the list of what is
# inside, in out/release/dist. CUDA="12 13" puts the CUDA half inside, built for both.
CUDA ?=
wheel: install-deps .venv/pyarrow .venv/cudnn-frontend
	packaging/release.sh wheel $(addprefix --cuda ,$(CUDA))

release: install-deps .venv/pyarrow .venv/cudnn-frontend
	packaging/release.sh $(addprefix --cuda ,$(CUDA))

# Loads what sft saved in transformers 4, transformers 5 and lm-evaluation-harness.
test-peers: build
	cmake --build $(BUILD) --target hub_server -j $(JOBS)
	tests/peers/run.sh $(BUILD)/sft

# Kills, failing system calls, full disks, damaged bytes: PROMISES.md says what they show. As root, for full disks.
KILLS ?= 1000
torture: build
	tools/install_deps.sh torture
	cmake --build $(BUILD) --target torture hostile_templates step_cost -j $(JOBS)
	$(BUILD)/tests/torture/hostile_templates
	$(BUILD)/tests/torture/step_cost
	$(BUILD)/tests/torture/torture $(BUILD)/sft examples/tiny-model --kills $(KILLS)

# The tests under the address and undefined-behaviour sanitizers, then under the thread sanitizer.
test-sanitize: .venv/pyarrow
	tools/test_sanitize.sh

# Each target for SECONDS seconds under the address and undefined-behaviour sanitizers.
SECONDS_EACH ?= 60
fuzz: .venv/pyarrow
	tools/fuzz.sh $(SECONDS_EACH)

format:
	tools/install_deps.sh format
	clang-format-19 -i $(CXX_FILES)

# Formatting, and clang-tidy on the lines that have changed since the last tag or commit.
check-changed: $(BUILD)/build.ninja
	tools/install_deps.sh format
	BUILD=$(BUILD) tools/check_changed

tidy: $(BUILD)/build.ninja
	tools/install_deps.sh format
	printf '%s\n' $(filter src/%.cpp tests/%.cpp,$(CXX_FILES)) | grep -v /cuda/ | xargs -P $(JOBS) -n 4 clang-tidy-19 -p $(BUILD) --quiet --extra-arg=-Wno-unknown-warning-option

clean:
	rm -rf $(BUILD)
