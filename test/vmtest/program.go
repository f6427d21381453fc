// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package vmtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
)

// BuildProgram builds the static program of the package that is to run in a guest,
// in a directory of its own, which the caller removes.
func BuildProgram(ctx context.Context, pkg string) (program string, err error) {
	dir, err := os.MkdirTemp("", "reflex-guest-")
	if err != nil {
		return "", err
	}
	program = filepath.Join(dir, path.Base(pkg))
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, pkg)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", errors.Join(fmt.Errorf("build %s: %w\n%s", pkg, err, out), os.RemoveAll(dir))
	}
	return program, nil
}

// Built reports which of the programs of `make build` is missing from a directory.
func Built(dist string, names ...string) error {
	for _, name := range names {
		if _, err := os.Stat(filepath.Join(dist, name)); err != nil {
			return fmt.Errorf("find %s (run `make build`): %w", name, err)
		}
	}
	return nil
}
