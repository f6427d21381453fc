// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package vmtest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// KernelEnv names the environment variable that replaces every kernel by the
// bzImage it points to, ModulesEnv the one with the directory of its modules
// (the one that holds kernel/), which may be empty for a kernel with virtio
// built in.
const (
	KernelEnv  = "REFLEX_VM_KERNEL"
	ModulesEnv = "REFLEX_VM_MODULES"
)

// Kernel is a bootable kernel on the host.
type Kernel struct {
	Release string // as uname -r prints it
	Image   string // path of the bzImage
	Modules string // directory that holds kernel/, "" when everything is built in
}

// Fetch returns the kernel called name ("5.10", "6.1", "6.12", or "7" for the
// newest that Debian backports to its stable release), downloading it on first use; progress goes to log, which may be nil. KernelEnv overrides it.
// An error that wraps [ErrNoKernel] means that the kernel cannot be had here.
func Fetch(ctx context.Context, name string, log io.Writer) (Kernel, error) {
	if log == nil {
		log = io.Discard
	}
	if image := os.Getenv(KernelEnv); image != "" {
		return open(image, os.Getenv(ModulesEnv))
	}
	k, err := fetchDebian(ctx, name, log)
	if err != nil {
		return Kernel{}, fmt.Errorf("%w %s: %w", ErrNoKernel, name, err)
	}
	return k, nil
}

// open checks that image is a kernel and reads its release. A path that names
// no kernel is the user's mistake, not an absence: it does not wrap ErrNoKernel.
func open(image, modules string) (Kernel, error) {
	release, err := readRelease(image)
	if err != nil {
		return Kernel{}, fmt.Errorf("open the kernel %s: %w", image, err)
	}
	return Kernel{Release: release, Image: image, Modules: modules}, nil
}

var errNotBzImage = errors.New("not a bzImage")

// readRelease reads the version string of a bzImage: the boot header has its magic
// at 0x202 and, at 0x20e, the string's offset less 0x200 (Linux x86 boot protocol 2.00).
func readRelease(image string) (string, error) {
	f, err := os.Open(image)
	if err != nil {
		return "", err
	}
	defer f.Close()
	var header [0x210]byte
	if _, err := f.ReadAt(header[:], 0); err != nil {
		return "", errNotBzImage
	}
	if string(header[0x202:0x206]) != "HdrS" {
		return "", errNotBzImage
	}
	var text [256]byte
	n, err := f.ReadAt(text[:], int64(binary.LittleEndian.Uint16(header[0x20e:]))+0x200)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	version, _, _ := bytes.Cut(text[:n], []byte{0})
	release, _, _ := strings.Cut(string(version), " ")
	if release == "" {
		return "", errNotBzImage
	}
	return release, nil
}
