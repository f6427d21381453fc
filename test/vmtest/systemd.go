// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package vmtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// systemdInit is systemd in a machine.
const systemdInit = "/usr/lib/systemd/systemd"

// FetchSystemd returns a directory with the systemd of a Debian release and all that it
// needs, downloading it on first use; progress goes to log, which may be nil. The
// release is named as for [Fetch], by its kernel. An error that wraps [ErrNoKernel]
// means that it cannot be had here.
func FetchSystemd(ctx context.Context, name string, log io.Writer) (string, error) {
	if log == nil {
		log = io.Discard
	}
	tree, err := fetchSystemd(ctx, name, log)
	if err != nil {
		return "", fmt.Errorf("%w, and no systemd beside kernel %s: %w", ErrNoKernel, name, err)
	}
	return tree, nil
}

func fetchSystemd(ctx context.Context, name string, log io.Writer) (string, error) {
	suite, known := debianSuites[name]
	if !known {
		return "", errors.New("unknown name")
	}
	unlock, err := lock(ctx, "fetch", false, func() { fmt.Fprintln(log, "vmtest: waiting for another download") })
	if err != nil {
		return "", err
	}
	defer unlock()
	dir, err := cacheDir(suite.name, "systemd")
	if err != nil {
		return "", err
	}
	tree := filepath.Join(dir, "tree")
	if _, err := os.Stat(tree); err == nil {
		return tree, nil
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return "", err
	}
	archives := filepath.Join(dir, "apt", "cache", "archives")
	if err := os.RemoveAll(archives); err != nil { // of an attempt that was cut short
		return "", err
	}
	a, err := newApt(ctx, dir, suite, log)
	if err != nil {
		return "", err
	}
	if _, err := a.run(ctx, "apt-get", "update"); err != nil {
		return "", err
	}
	// Of a machine on which nothing is installed, as apt is told, it is all that
	// systemd needs.
	if _, err := a.run(ctx, "apt-get", "install", "--yes", "--download-only", "--no-install-recommends", "systemd"); err != nil {
		return "", err
	}
	debs, err := filepath.Glob(filepath.Join(archives, "*.deb"))
	if err != nil || len(debs) == 0 {
		return "", fmt.Errorf("apt has downloaded %d packages: %w", len(debs), err)
	}
	if err := unpack(ctx, debs, tree); err != nil {
		return "", err
	}
	fmt.Fprintf(log, "vmtest: the systemd of %s is ready\n", suite.name)
	return tree, nil
}
