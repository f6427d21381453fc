// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Command init is process 1 of the virtual machines of package vmtest: it makes
// the machine usable, runs one command, sends its output, the content of /out
// and the exit code to the host, and powers off. It retries nothing.
//
// Where there is a service manager, init makes way for it as process 1, and it runs
// init again, as a service, for the rest.
//
// It uses nothing but the standard library: package vmtest builds it from
// embedded source, wherever a Go toolchain is.
package main

import (
	"archive/tar"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/otelcol-reflex/reflex/test/vmtest/internal/wire"
)

func main() {
	asService := len(os.Args) == 2 && os.Args[1] == serviceArgument
	if os.Getpid() != 1 && !asService {
		fmt.Fprintln(os.Stderr, "this is the init of a test machine and runs as process 1 only")
		os.Exit(2)
	}
	if err := live(asService); err != nil {
		fmt.Println("vmtest: init:", err) // the console
	}
	syscall.Sync()
	_ = syscall.Reboot(syscall.LINUX_REBOOT_CMD_POWER_OFF)
	select {} // a process 1 that exits panics the kernel
}

func live(asService bool) error {
	config, err := readConfig()
	if err != nil {
		return err
	}
	if !asService {
		if err := mountAll(config.Manager != ""); err != nil {
			return err
		}
		if err := loadModules(config.Modules); err != nil {
			return err
		}
		if config.Manager != "" {
			return makeWay(config.Manager)
		}
	}
	port, err := openPort(wire.Port, 10*time.Second)
	if err != nil {
		return err
	}
	w := wire.NewWriter(port)
	host := listen(port)
	if !asService {
		if err := settle(); err != nil {
			return end(w, host, wire.Failed, err.Error())
		}
	}
	code, err := run(config, w.Stream(wire.Output), host.stop)
	if err != nil {
		return end(w, host, wire.Failed, err.Error())
	}
	if err := archive(w.Stream(wire.Archive), wire.OutDir); err != nil {
		return end(w, host, wire.Failed, err.Error())
	}
	return end(w, host, wire.Exit, strconv.Itoa(code))
}

// serviceArgument tells init that a service manager runs it.
const serviceArgument = "service"

// service is the unit by which it does.
const service = `[Unit]
Description=what this test machine is for
Requires=basic.target
After=basic.target
[Service]
ExecStart=/init ` + serviceArgument + `
Delegate=no
OOMScoreAdjust=-1000
`

// makeWay has a service manager become process 1. It does not return but for an error.
func makeWay(manager string) error {
	const units = "/run/systemd/system"
	if err := os.MkdirAll(units, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(units+"/vmtest.service", []byte(service), 0o644); err != nil {
		return err
	}
	if err := raiseLoopback(); err != nil {
		return fmt.Errorf("bring lo up: %w", err)
	}
	err := syscall.Exec(manager, []string{manager, "--unit=vmtest.service", "--show-status=no", "--log-target=console"}, []string{"PATH=/usr/sbin:/usr/bin"})
	return fmt.Errorf("run %s: %w", manager, err)
}

func readConfig() (c wire.Config, err error) {
	data, err := os.ReadFile(wire.ConfigPath)
	if err != nil {
		return c, fmt.Errorf("read the configuration: %w", err)
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return c, fmt.Errorf("decode %s: %w", wire.ConfigPath, err)
	}
	return c, nil
}

// end sends the last frame and waits until the host has it: bytes that are still
// in the port's queue are lost when the machine powers off.
func end(w *wire.Writer, host *hostWords, kind wire.Kind, text string) error {
	if err := w.Write(kind, []byte(text)); err != nil {
		return err
	}
	select {
	case <-host.acknowledged:
	case <-time.After(20 * time.Second):
	}
	return nil
}

// hostWords turns the bytes that the host sends into closed channels.
type hostWords struct{ stop, acknowledged chan struct{} }

func listen(port io.Reader) *hostWords {
	host := &hostWords{make(chan struct{}), make(chan struct{})}
	go func() {
		stop, acknowledged := host.stop, host.acknowledged
		var b [1]byte
		for {
			if _, err := port.Read(b[:]); err != nil {
				return
			}
			switch {
			case b[0] == wire.Stop && stop != nil:
				close(stop)
				stop = nil
			case b[0] == wire.Acknowledge && acknowledged != nil:
				close(acknowledged)
				acknowledged = nil
			}
		}
	}()
	return host
}

// openPort waits for the virtio-serial port of that name and opens it.
func openPort(name string, patience time.Duration) (*os.File, error) {
	deadline := time.Now().Add(patience)
	for {
		ports, err := filepath.Glob("/sys/class/virtio-ports/*/name")
		if err != nil {
			return nil, err
		}
		for _, p := range ports {
			if got, err := os.ReadFile(p); err == nil && string(got) == name+"\n" {
				dev := "/dev/" + filepath.Base(filepath.Dir(p))
				fd, err := syscall.Open(dev, syscall.O_RDWR|syscall.O_CLOEXEC, 0)
				if err != nil {
					return nil, fmt.Errorf("open %s: %w", dev, err)
				}
				return os.NewFile(uintptr(fd), dev), nil
			}
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("no virtio port %q after %v", name, patience)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// archive writes the regular files and directories below dir as tar.
func archive(out io.Writer, dir string) error {
	w := tar.NewWriter(out)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir || (!d.IsDir() && !d.Type().IsRegular()) {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		header, err := tar.FileInfoHeader(info, "")
		if err != nil {
			return err
		}
		if header.Name, err = filepath.Rel(dir, path); err != nil {
			return err
		}
		if err := w.WriteHeader(header); err != nil || d.IsDir() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		// A file that somebody still appends to is cut at the size announced.
		_, err = io.Copy(w, io.LimitReader(f, header.Size))
		return err
	})
	if err != nil {
		return fmt.Errorf("archive %s: %w", dir, err)
	}
	return w.Close()
}
