// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package vmtest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"
)

// initSource is all that the guest's init is made of. It is built from here and
// not from the module's directory, so that a compiled test needs no source tree.
//
//go:embed internal/init/*.go internal/wire/*.go
var initSource embed.FS

const initModule = "module github.com/otelcol-reflex/reflex/test\n\ngo 1.25.0\n"

// buildInit returns the path of the guest's init, built once per content.
func buildInit(ctx context.Context) (string, error) {
	files := map[string][]byte{"go.mod": []byte(initModule)}
	digest := sha256.New()
	fmt.Fprint(digest, runtime.Version(), initModule)
	err := fs.WalkDir(initSource, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := initSource.ReadFile(path)
		if err != nil {
			return err
		}
		fmt.Fprintln(digest, path, len(data))
		digest.Write(data)
		files[filepath.Join("vmtest", path)] = data
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("read the source of init: %w", err)
	}
	dir, err := cacheDir("init")
	if err != nil {
		return "", err
	}
	binary := filepath.Join(dir, hex.EncodeToString(digest.Sum(nil))[:24])
	if _, err := os.Stat(binary); err == nil {
		return binary, nil
	}
	tree, err := os.MkdirTemp(dir, "build-")
	if err != nil {
		return "", fmt.Errorf("build init: %w", err)
	}
	defer os.RemoveAll(tree)
	for name, data := range files {
		path := filepath.Join(tree, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return "", fmt.Errorf("build init: %w", err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			return "", fmt.Errorf("build init: %w", err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	built := filepath.Join(tree, "init.out")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", built, "./vmtest/internal/init")
	cmd.Dir = tree
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64", "GOWORK=off", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build init: %w: %s", err, bytes.TrimSpace(out))
	}
	return binary, publish(built, binary)
}
