// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package vmtest

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// module is one kernel module, decompressed.
type module struct {
	name  string // with underscores, as the kernel spells it
	image []byte
}

// loadOrder returns the wanted modules and what they depend on, dependencies
// first. Modules that are built into the kernel are left out. Debian's packages
// carry no modules.dep (depmod runs at installation), so the dependencies are
// read from the modules themselves.
func loadOrder(k Kernel, wanted []string) ([]module, error) {
	if k.Modules == "" {
		return nil, nil
	}
	files, err := indexModules(k.Modules)
	if err != nil {
		return nil, fmt.Errorf("index the modules of %s: %w", k.Release, err)
	}
	var order []module
	state := map[string]bool{} // present: visited
	var visit func(name string) error
	visit = func(name string) error {
		if state[name] {
			return nil
		}
		state[name] = true
		path, ok := files[name]
		if !ok {
			return fmt.Errorf("%s has no module %s", k.Release, name)
		}
		if path == "" {
			return nil
		}
		image, err := readModule(path)
		if err != nil {
			return fmt.Errorf("read the module %s: %w", name, err)
		}
		needs, err := dependencies(image)
		if err != nil {
			return fmt.Errorf("read the dependencies of %s: %w", name, err)
		}
		for _, need := range needs {
			if err := visit(need); err != nil {
				return err
			}
		}
		order = append(order, module{name, image})
		return nil
	}
	for _, name := range wanted {
		if err := visit(moduleName(name)); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// indexModules maps module names to files, built-in ones to "".
func indexModules(dir string) (map[string]string, error) {
	index := map[string]string{}
	builtin, err := os.ReadFile(filepath.Join(dir, "modules.builtin"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, line := range strings.Fields(string(builtin)) {
		index[moduleName(line)] = ""
	}
	err = filepath.WalkDir(filepath.Join(dir, "kernel"), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !d.IsDir() && strings.Contains(d.Name(), ".ko") {
			index[moduleName(path)] = path
		}
		return nil
	})
	return index, err
}

// moduleName returns the kernel's spelling of the module in a path.
func moduleName(path string) string {
	name, _, _ := strings.Cut(filepath.Base(path), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

func readModule(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	switch filepath.Ext(path) {
	case ".xz":
		r, err := xz.NewReader(bytes.NewReader(data))
		if err != nil {
			return nil, err
		}
		return io.ReadAll(r)
	case ".zst":
		r, err := zstd.NewReader(bytes.NewReader(data))
		if err != nil {
			return nil, err
		}
		defer r.Close()
		return io.ReadAll(r)
	}
	return data, nil
}

// dependencies reads the entry "depends=a,b" of the section .modinfo.
func dependencies(image []byte) ([]string, error) {
	f, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		return nil, err
	}
	section := f.Section(".modinfo")
	if section == nil {
		return nil, errors.New("no section .modinfo")
	}
	info, err := section.Data()
	if err != nil {
		return nil, err
	}
	for _, entry := range strings.Split(string(info), "\x00") {
		if list, ok := strings.CutPrefix(entry, "depends="); ok && list != "" {
			return strings.Split(strings.ReplaceAll(list, "-", "_"), ","), nil
		}
	}
	return nil, nil
}
