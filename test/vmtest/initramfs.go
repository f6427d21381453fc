// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package vmtest

import (
	"bufio"
	"bytes"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/u-root/u-root/pkg/cpio"

	"github.com/otelcol-reflex/reflex/test/vmtest/internal/wire"
)

// File is one file of the guest.
type File struct {
	Guest string      // absolute path in the guest
	Host  string      // path of its content on the host
	Data  []byte      // its content, where Host is ""
	Mode  os.FileMode // permissions; 0 means the host file's own, or 0644 for Data
}

// etc is what programs look up on any machine.
var etc = map[string]string{
	"etc/hosts":         "127.0.0.1 localhost vmtest\n::1 localhost\n",
	"etc/passwd":        "root:x:0:0:root:/tmp:/bin/false\nnobody:x:65534:65534:nobody:/tmp:/bin/false\n",
	"etc/group":         "root:x:0:\nnogroup:x:65534:\n",
	"etc/nsswitch.conf": "hosts: files\n",
}

// initramfs writes the guest's root file system to out, a cpio archive in the
// format the kernel unpacks.
func initramfs(out io.Writer, init string, modules []module, trees []string, files []File, config wire.Config) error {
	buffered := bufio.NewWriterSize(out, 1<<20)
	w := &rootfs{w: cpio.Newc.Writer(buffered), made: map[string]bool{".": true}}
	w.put(cpio.Directory("dev", 0o755))
	w.made["dev"] = true
	w.put(cpio.CharDev("dev/console", 0o600, 5, 1))
	for _, tree := range trees {
		w.tree(tree)
	}
	for name, text := range etc {
		w.data(name, []byte(text), 0o644)
	}
	for _, m := range modules {
		name := "modules/" + m.name + ".ko"
		w.data(name, m.image, 0o644)
		config.Modules = append(config.Modules, "/"+name)
	}
	text, err := json.Marshal(config)
	if err != nil {
		return fmt.Errorf("encode the guest's configuration: %w", err)
	}
	w.data(strings.TrimPrefix(wire.ConfigPath, "/"), text, 0o644)
	w.file(File{Guest: "/init", Host: init, Mode: 0o755})
	for _, f := range files {
		w.file(f)
	}
	if w.err != nil {
		return fmt.Errorf("write the initramfs: %w", w.err)
	}
	w.put(cpio.TrailerRecord)
	return errors.Join(w.err, buffered.Flush())
}

// rootfs writes records, each directory once and before what is in it, and
// remembers the first error.
type rootfs struct {
	w    cpio.RecordWriter
	made map[string]bool
	err  error
}

func (r *rootfs) put(record cpio.Record) {
	if r.err == nil {
		r.err = r.w.WriteRecord(record)
	}
}

func (r *rootfs) parents(name string) {
	dir := path.Dir(name)
	if r.made[dir] {
		return
	}
	r.parents(dir)
	r.made[dir] = true
	r.put(cpio.Directory(dir, 0o755))
}

func (r *rootfs) data(name string, data []byte, mode os.FileMode) {
	r.parents(name)
	r.put(cpio.Record{ReaderAt: bytes.NewReader(data), Info: cpio.Info{
		Name: name, Mode: cpio.S_IFREG | uint64(mode.Perm()), FileSize: uint64(len(data)),
	}})
}

// needsLoader reports whether a file is a program that names a dynamic loader.
// The kernel's word for its absence would be that the program does not exist.
func needsLoader(r io.ReaderAt) bool {
	program, err := elf.NewFile(r)
	if err != nil {
		return false
	}
	for _, segment := range program.Progs {
		if segment.Type == elf.PT_INTERP {
			return true
		}
	}
	return false
}

func (r *rootfs) file(f File) {
	if r.err != nil {
		return
	}
	if !path.IsAbs(f.Guest) {
		r.err = fmt.Errorf("the guest's path %q is not absolute", f.Guest)
		return
	}
	name := strings.TrimPrefix(path.Clean(f.Guest), "/")
	if f.Host == "" {
		if f.Mode == 0 {
			f.Mode = 0o644
		}
		r.data(name, f.Data, f.Mode)
		return
	}
	host, err := os.Open(f.Host)
	if err != nil {
		r.err = err
		return
	}
	defer host.Close()
	info, err := host.Stat()
	if err != nil {
		r.err = err
		return
	}
	if !info.Mode().IsRegular() {
		r.err = fmt.Errorf("%s is not a regular file", f.Host)
		return
	}
	if f.Mode == 0 {
		f.Mode = info.Mode()
	}
	if needsLoader(host) && !r.made["usr/lib"] {
		r.err = fmt.Errorf("%s is dynamically linked, and the guest has no libraries (build it with CGO_ENABLED=0)", f.Host)
		return
	}
	r.parents(name)
	r.put(cpio.Record{ReaderAt: host, Info: cpio.Info{
		Name: name, Mode: cpio.S_IFREG | uint64(f.Mode.Perm()), FileSize: uint64(info.Size()),
	}})
}

// machineID keeps systemd from asking who is there, as at a first boot.
const machineID = "0123456789abcdef0123456789abcdef\n"

// merged are the directories that have been links to those below usr for long, and in
// which older packages still ship files.
var merged = []string{"bin", "sbin", "lib", "lib64"}

// beside is what a package has that no machine here needs.
var beside = []string{"usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/i18n", "usr/share/bash-completion", "usr/share/zsh", "usr/lib/x86_64-linux-gnu/gconv", "usr/share/perl5"}

// tree adds what is in a directory of the host: files, links and directories.
func (r *rootfs) tree(dir string) {
	for _, name := range merged {
		if !r.made[name] {
			r.made[name] = true
			r.parents("usr/" + name + "/x")
			r.put(cpio.Symlink(name, "usr/"+name))
		}
	}
	r.data("etc/machine-id", []byte(machineID), 0o444)
	err := filepath.WalkDir(dir, func(host string, d fs.DirEntry, err error) error {
		if err != nil || host == dir {
			return err
		}
		name, err := filepath.Rel(dir, host)
		if err != nil {
			return err
		}
		if first, _, _ := strings.Cut(name, "/"); slices.Contains(merged, first) {
			name = "usr/" + name
		}
		switch {
		case d.Type() == fs.ModeSymlink && slices.Contains(merged, strings.TrimPrefix(name, "usr/")): // made above
		case d.IsDir() && slices.Contains(beside, name):
			return fs.SkipDir
		case d.IsDir():
			r.parents(name + "/x")
		case d.Type() == fs.ModeSymlink:
			to, err := os.Readlink(host)
			if err != nil {
				return err
			}
			r.parents(name)
			r.put(cpio.Symlink(name, to))
		case d.Type().IsRegular():
			info, err := d.Info()
			if err != nil {
				return err
			}
			data, err := os.ReadFile(host)
			if err != nil {
				return err
			}
			r.data(name, data, info.Mode())
		}
		return r.err
	})
	if r.err == nil {
		r.err = err
	}
}
