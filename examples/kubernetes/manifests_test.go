// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package kubernetes

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// decode reads a manifest into the API's own type, the way the API server does:
// an unknown or repeated key is an error, and so is one in the wrong case.
func decode[T any](t *testing.T, file string) *T {
	t.Helper()
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	data, err = yaml.YAMLToJSONStrict(data)
	require.NoError(t, err, file)
	into := new(T)
	strict, err := json.UnmarshalStrict(data, into)
	require.NoError(t, err, file)
	require.Empty(t, strict, file)
	return into
}

func TestManifestsAreWhatTheAPIKnows(t *testing.T) {
	namespace := decode[corev1.Namespace](t, "namespace.yaml")
	account := decode[corev1.ServiceAccount](t, "serviceaccount.yaml")
	config := decode[corev1.ConfigMap](t, "configmap.yaml")
	set := decode[appsv1.DaemonSet](t, "daemonset.yaml")

	assert.Equal(t, "v1/Namespace", namespace.APIVersion+"/"+namespace.Kind)
	assert.Equal(t, "v1/ServiceAccount", account.APIVersion+"/"+account.Kind)
	assert.Equal(t, "v1/ConfigMap", config.APIVersion+"/"+config.Kind)
	assert.Equal(t, "apps/v1/DaemonSet", set.APIVersion+"/"+set.Kind)
	for _, in := range []string{account.Namespace, config.Namespace, set.Namespace} {
		assert.Equal(t, namespace.Name, in)
	}
	pod := &set.Spec.Template.Spec
	assert.Equal(t, account.Name, pod.ServiceAccountName)
	for key, value := range set.Spec.Selector.MatchLabels {
		assert.Equal(t, value, set.Spec.Template.Labels[key], "the selector matches the pods")
	}
	assert.Equal(t, "privileged", namespace.Labels["pod-security.kubernetes.io/enforce"], "or hostPath is refused")
}

func TestEveryManifestIsListed(t *testing.T) {
	listed := decode[struct {
		APIVersion string              `json:"apiVersion"`
		Kind       string              `json:"kind"`
		Resources  []string            `json:"resources"`
		Images     []map[string]string `json:"images"`
	}](t, "kustomization.yaml")
	files, err := filepath.Glob("*.yaml")
	require.NoError(t, err)
	files = slices.DeleteFunc(files, func(f string) bool { return f == "kustomization.yaml" })
	assert.ElementsMatch(t, files, listed.Resources)
	for _, c := range podOf(t).Containers {
		name, _, tagged := strings.Cut(c.Image, ":")
		assert.True(t, tagged, "%s: an image without a tag may change under you", c.Name)
		assert.Equal(t, name, listed.Images[0]["name"])
	}
}

func podOf(t *testing.T) *corev1.PodSpec {
	t.Helper()
	return &decode[appsv1.DaemonSet](t, "daemonset.yaml").Spec.Template.Spec
}

func container(t *testing.T, name string) *corev1.Container {
	t.Helper()
	pod := podOf(t)
	i := slices.IndexFunc(pod.Containers, func(c corev1.Container) bool { return c.Name == name })
	require.GreaterOrEqual(t, i, 0, name)
	return &pod.Containers[i]
}

// capabilities are the most that each container may have.
var capabilities = map[string][]corev1.Capability{
	"guard":     {"SYS_ADMIN", "DAC_READ_SEARCH", "IPC_LOCK", "SYS_RESOURCE", "BPF", "PERFMON", "NET_ADMIN"},
	"collector": {"BPF", "PERFMON"},
}

func TestContainersHaveTheLeastPrivilege(t *testing.T) {
	pod := podOf(t)
	require.Len(t, pod.Containers, len(capabilities))
	assert.Empty(t, pod.InitContainers)
	assert.False(t, pod.HostIPC)
	require.NotNil(t, pod.AutomountServiceAccountToken)
	assert.False(t, *pod.AutomountServiceAccountToken)
	require.NotNil(t, pod.SecurityContext.SeccompProfile)
	assert.Equal(t, corev1.SeccompProfileTypeRuntimeDefault, pod.SecurityContext.SeccompProfile.Type)
	for _, c := range pod.Containers {
		t.Run(c.Name, func(t *testing.T) {
			s := c.SecurityContext
			require.NotNil(t, s)
			require.NotNil(t, s.Privileged)
			assert.False(t, *s.Privileged)
			require.NotNil(t, s.ReadOnlyRootFilesystem)
			assert.True(t, *s.ReadOnlyRootFilesystem)
			assert.Equal(t, []corev1.Capability{"ALL"}, s.Capabilities.Drop)
			assert.ElementsMatch(t, capabilities[c.Name], s.Capabilities.Add)
			require.NotNil(t, s.RunAsUser)
			assert.Zero(t, *s.RunAsUser, "added capabilities reach user 0 only")
			assert.Empty(t, c.Ports, "nothing listens to the network")
			assert.NotEmpty(t, c.Resources.Requests)
			assert.False(t, c.Resources.Limits.Memory().IsZero())
			assert.True(t, c.Resources.Limits.Cpu().IsZero(), "throttling would delay the reflex")
		})
	}
	escalation := container(t, "collector").SecurityContext.AllowPrivilegeEscalation
	require.NotNil(t, escalation)
	assert.False(t, *escalation)
}

func TestTheGuardAloneWritesToTheNode(t *testing.T) {
	pod := podOf(t)
	hostPaths := map[string]string{}
	volumes := map[string]bool{}
	for _, v := range pod.Volumes {
		volumes[v.Name] = true
		if v.HostPath != nil {
			hostPaths[v.Name] = v.HostPath.Path
		}
	}
	assert.ElementsMatch(t, []string{"/sys/fs/cgroup", "/run/reflex"}, slices.Collect(values(hostPaths)))
	for _, c := range pod.Containers {
		for _, m := range c.VolumeMounts {
			assert.True(t, volumes[m.Name], "%s mounts %s", c.Name, m.Name)
			if path, ok := hostPaths[m.Name]; ok {
				assert.Equal(t, path, m.MountPath)
				assert.Equal(t, c.Name != "guard", m.ReadOnly, "%s mounts %s", c.Name, m.MountPath)
			}
		}
	}
}

func values(m map[string]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for _, v := range m {
			if !yield(v) {
				return
			}
		}
	}
}

func TestItRunsOnEveryNodeAndStays(t *testing.T) {
	pod := podOf(t)
	assert.Equal(t, "system-node-critical", pod.PriorityClassName)
	assert.Contains(t, pod.Tolerations, corev1.Toleration{Operator: corev1.TolerationOpExists})
	assert.Equal(t, "linux", pod.NodeSelector["kubernetes.io/os"])
	assert.True(t, pod.HostPID, "the guard knows whom to spare by process id")
	assert.True(t, pod.HostNetwork, "packets are the node's")
	assert.GreaterOrEqual(t, *pod.TerminationGracePeriodSeconds, int64(15), "time to give originals back")
	args := container(t, "guard").Args
	assert.Equal(t, "supervise", args[0])
	assert.Contains(t, args, "--uid=0", "the collector's user")
}

// collectorConfig is the part of the collector's configuration that says what
// Reflex may do.
type collectorConfig struct {
	Extensions struct {
		Reflex struct {
			Mode       string `json:"mode"`
			Guard      string `json:"guard"`
			CgroupRoot string `json:"cgroup_root"`
			Status     struct {
				Endpoint string `json:"endpoint"`
			} `json:"status"`
		} `json:"reflex"`
	} `json:"extensions"`
	Service struct {
		Extensions []string `json:"extensions"`
		Pipelines  map[string]struct {
			Receivers []string `json:"receivers"`
		} `json:"pipelines"`
	} `json:"service"`
}

func TestItObservesUntilToldOtherwise(t *testing.T) {
	config := decode[corev1.ConfigMap](t, "configmap.yaml")
	var c collectorConfig
	require.NoError(t, yaml.Unmarshal([]byte(config.Data["config.yaml"]), &c))
	reflex := c.Extensions.Reflex
	assert.Equal(t, "observe", reflex.Mode)
	assert.Contains(t, c.Service.Extensions, "reflex")
	for _, pipeline := range []string{"metrics/reflex", "logs/reflex", "traces/reflex"} {
		assert.Contains(t, c.Service.Pipelines[pipeline].Receivers, "reflex")
	}
	host, _, err := net.SplitHostPort(reflex.Status.Endpoint)
	require.NoError(t, err)
	assert.True(t, net.ParseIP(host).IsLoopback(), "the node's network is everybody's: status is for loopback")

	guard := strings.Join(container(t, "guard").Args, " ")
	assert.Contains(t, guard, "--socket="+reflex.Guard, "both ends of the socket agree")
	assert.Contains(t, guard, "--cgroup-root="+reflex.CgroupRoot)
	mounts := container(t, "collector").VolumeMounts
	assert.True(t, slices.ContainsFunc(mounts, func(m corev1.VolumeMount) bool {
		return container(t, "collector").Args[0] == "--config="+m.MountPath+"/config.yaml"
	}), "the configuration is where the collector looks")
}

func TestPrivilegesAreExplained(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "privileges.md"))
	require.NoError(t, err)
	for name, all := range capabilities {
		for _, c := range all {
			assert.Contains(t, string(text), "`"+string(c)+"`", name)
		}
	}
}
