"""Owns which files a change never touches, or only where `moss.toml` names them. Never looks at a file.

Patterns are those of `domain.globs`; they hold in any letter case. What is here builds, installs, checks, starts or
judges the agent, or steers the next coding agent: a change of it would not be one of the agent.
"""

NEVER = (
    "**/.git*", "**/.git*/**", "moss.toml", "**/.moss/**", ".moss", "**/moss_hook*", "**/*.moss.*", "**/.env",
    "**/.env.*",
)  # fmt: skip
"""Protected always: git's own files, MOSS's settings, home and hooks, environment files."""

UNLESS_NAMED = (
    # continuous integration
    ".ci/**", ".circleci/**", ".travis.yml", ".gitlab-ci.yml", "azure-pipelines.yml", "Jenkinsfile", ".buildkite/**",
    "**/.pre-commit-config.yaml", "**/.pre-commit-hooks.yaml", "**/.husky/**", "**/lefthook.y*ml", ".devcontainer/**",
    ".drone.yml", ".woodpecker*", "**/.vscode/**", "**/.idea/**",
    # how it is built and installed
    "**/Dockerfile*", "**/*.Dockerfile", "**/Containerfile*", "**/.dockerignore", "**/docker-compose*",
    "**/compose.y*ml", "**/compose.*.y*ml", "**/Makefile", "**/GNUmakefile", "**/*.mk", "**/CMakeLists.txt",
    "**/*.cmake", "**/meson.build", "**/justfile", "**/.justfile", "**/*.just", "**/Taskfile.y*ml", "**/Rakefile",
    "**/Procfile", "**/Earthfile", "**/Tiltfile", "**/BUILD.bazel", "**/WORKSPACE", "**/*.bzl", "**/*.nix",
    "**/pyproject.toml", "**/setup.py", "**/setup.cfg", "**/MANIFEST.in", "**/hatch.toml", "**/hatch_build.py",
    "**/pip.conf",
    "**/pip.ini", "**/uv.toml", "**/.pypirc", "**/environment.y*ml", "**/constraints*.txt", "**/.python-version",
    "**/.tool-versions", "**/mise.toml", "**/.envrc", "**/build.rs", "**/.cargo/**", "**/rust-toolchain*",
    "**/tsconfig*.json", "**/jsconfig.json", "**/binding.gyp", "**/.yarnrc*", "**/.yarn/**", "**/.pnpmfile.*",
    "**/pnpm-workspace.yaml", "**/bunfig.toml", "**/deno.json*", "**/webpack.config.*", "**/vite.config.*",
    "**/rollup.config.*", "**/babel.config.*", "**/.babelrc*", "**/.swcrc", "**/composer.json", "**/mix.exs",
    "**/*.gradle*", "**/gradle.properties", "**/gradlew*", "**/gradle/**", "**/mvnw*", "**/.mvn/**", "**/build.xml",
    "**/go.work*", "**/*requirements*.txt", "**/*.lock", "**/Pipfile", "**/package.json", "**/package-lock.json",
    "**/pnpm-lock.yaml", "**/.npmrc", "**/Cargo.toml", "**/go.mod", "**/go.sum", "**/build.gradle*", "**/pom.xml",
    "**/Gemfile",
    # what runs before the tests or the program do
    "**/conftest.py", "**/pytest.ini", "**/.pytest.ini", "**/pytest.toml", "**/.pytest.toml", "**/tox.ini",
    "**/tox.toml", "**/noxfile.py", "**/.coveragerc", "**/.coveragerc.toml", "**/sitecustomize.py",
    "**/usercustomize.py", "**/*.pth", "**/*.egg-info/**", "**/*.dist-info/**", "**/jest.config.*",
    "**/vitest.config.*", "**/karma.conf.*", "**/.mocharc*", "**/playwright.config.*", "**/cypress.config.*",
    "**/phpunit.xml*", "**/.rspec",
    # what steers the next coding agent
    "**/AGENTS.md", "**/CLAUDE.md", "**/GEMINI.md", "**/QWEN.md", "**/.claude/**", "**/.codex/**", "**/.opencode/**",
    "**/.cursorrules", "**/.windsurfrules", "**/.gemini/**", "**/.qwen/**", "**/.pi/**", "**/.mcp.json",
    "**/opencode.json", "**/.aider*", "**/.cursor*/**",
)  # fmt: skip
"""Protected unless a pattern of `editable` names the file itself: its last segment has no wildcard."""
