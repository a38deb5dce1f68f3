// Package chart lints and renders infra/helm/fabric with Helm's own engine, and
// reads every manifest with Kubernetes' own types, strictly.
//
// Invariant: nothing here reaches a cluster or the network.
package chart

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/lint/support"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	apps "k8s.io/api/apps/v1"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	disruption "k8s.io/api/policy/v1"
	"sigs.k8s.io/yaml"
)

const folder = "../../infra/helm/fabric"

// sets are the value sets whose rendering is kept under testdata.
func sets(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "ci", "*.yaml"))
	if err != nil || len(files) != 3 {
		t.Fatalf("value sets: %v, %v", files, err)
	}
	return files
}

// render returns the manifests of a value set, in the order of their files.
func render(t *testing.T, given map[string]any) (string, error) {
	t.Helper()
	c, err := loader.Load(folder)
	if err != nil {
		t.Fatal(err)
	}
	caps := common.DefaultCapabilities.Copy()
	values, err := util.ToRenderValues(c, given, common.ReleaseOptions{Name: "fabric", Namespace: "fl", Revision: 1, IsInstall: true}, caps)
	if err != nil {
		return "", err
	}
	files, err := engine.Render(c, values)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if strings.HasSuffix(name, "NOTES.txt") {
			continue
		}
		for _, doc := range documents(files[name]) {
			fmt.Fprintf(&out, "---\n# Source: %s\n%s\n", name, doc)
		}
	}
	return out.String(), nil
}

// documents are the YAML documents of a file that say anything.
func documents(text string) []string {
	var out []string
	for _, doc := range regexp.MustCompile(`(?m)^---\s*$`).Split(text, -1) {
		lines := slices.DeleteFunc(strings.Split(strings.TrimSpace(doc), "\n"), func(l string) bool {
			return strings.TrimSpace(l) == "" || strings.HasPrefix(strings.TrimSpace(l), "#")
		})
		if len(lines) > 0 {
			out = append(out, strings.Join(lines, "\n"))
		}
	}
	return out
}

func values(t *testing.T, file string) map[string]any {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var v map[string]any
	if err := yaml.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestLint(t *testing.T) {
	for _, file := range sets(t) {
		for _, m := range lint.RunAll(folder, values(t, file), "fl").Messages {
			if m.Severity >= support.WarningSev {
				t.Errorf("%s: %v", filepath.Base(file), m)
			}
		}
	}
}

// Renderings are compared with what is kept; FABRIC_GOLDEN=write writes them.
func TestRenderings(t *testing.T) {
	for _, file := range sets(t) {
		got, err := render(t, values(t, file))
		if err != nil {
			t.Fatal(err)
		}
		golden := filepath.Join("testdata", filepath.Base(file))
		if os.Getenv("FABRIC_GOLDEN") == "write" {
			if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(want, []byte(got)) {
			t.Errorf("%s: the rendering differs from %s; look at it, then FABRIC_GOLDEN=write", file, golden)
		}
	}
}

// A thing is what of a manifest the rules below look at.
type thing struct {
	kind, name string
	pod        *core.PodTemplateSpec
	selects    map[string]string // of a workload or a Service
}

// read reads a manifest with the type that its kind has, and refuses a field
// that the type lacks.
func read(t *testing.T, doc string) thing {
	t.Helper()
	var head struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Metadata   struct {
			Name string `json:"name"`
		} `json:"metadata"`
	}
	if err := yaml.Unmarshal([]byte(doc), &head); err != nil {
		t.Fatal(err)
	}
	of := thing{kind: head.Kind, name: head.Metadata.Name}
	strict := func(into any) {
		if err := yaml.UnmarshalStrict([]byte(doc), into); err != nil {
			t.Errorf("%s %s: %v\n%s", head.Kind, head.Metadata.Name, err, doc)
		}
	}
	switch head.APIVersion + "/" + head.Kind {
	case "apps/v1/Deployment":
		var d apps.Deployment
		strict(&d)
		of.pod, of.selects = &d.Spec.Template, d.Spec.Selector.MatchLabels
	case "apps/v1/StatefulSet":
		var s apps.StatefulSet
		strict(&s)
		of.pod, of.selects = &s.Spec.Template, s.Spec.Selector.MatchLabels
	case "batch/v1/Job":
		var j batch.Job
		strict(&j)
		of.pod = &j.Spec.Template
	case "v1/Service":
		var s core.Service
		strict(&s)
		of.selects = s.Spec.Selector
	case "v1/ServiceAccount":
		strict(&core.ServiceAccount{})
	case "v1/ConfigMap":
		strict(&core.ConfigMap{})
	case "networking.k8s.io/v1/NetworkPolicy":
		strict(&networking.NetworkPolicy{})
	case "policy/v1/PodDisruptionBudget":
		strict(&disruption.PodDisruptionBudget{})
	case "monitoring.coreos.com/v1/ServiceMonitor", "monitoring.coreos.com/v1/PrometheusRule": // no type of Kubernetes' own
	default:
		t.Errorf("%s %s: a kind that this test does not know", head.APIVersion, head.Kind)
	}
	return of
}

func TestManifestsAreKubernetes(t *testing.T) {
	for _, file := range sets(t) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := render(t, values(t, file))
			if err != nil {
				t.Fatal(err)
			}
			kinds, all := map[string]int{}, []thing{}
			for _, doc := range documents(text) {
				m := read(t, doc)
				kinds[m.kind]++
				all = append(all, m)
				if m.pod != nil {
					guarded(t, m)
				}
			}
			for _, m := range all {
				own(t, m, all)
			}
			for _, kind := range []string{"StatefulSet", "Job", "Service", "NetworkPolicy", "PodDisruptionBudget", "ServiceAccount"} {
				if kinds[kind] == 0 {
					t.Errorf("no %s", kind)
				}
			}
			if strings.Contains(text, "kind: Secret\n") {
				t.Error("a chart keeps no secret: it names secrets that are there")
			}
		})
	}
}

// own checks that what selects pods selects those of its own name, and no others.
func own(t *testing.T, m thing, all []thing) {
	t.Helper()
	if m.selects == nil {
		return
	}
	for _, other := range all {
		if other.pod == nil {
			continue
		}
		matches := true
		for k, v := range m.selects {
			matches = matches && other.pod.Labels[k] == v
		}
		if matches != (other.name == m.name) {
			t.Errorf("%s %s and the pods of %s: selected %t", m.kind, m.name, other.name, matches)
		}
	}
}

// guarded checks what every pod of ours must have.
func guarded(t *testing.T, m thing) {
	t.Helper()
	pod := m.pod.Spec
	if pod.AutomountServiceAccountToken == nil || *pod.AutomountServiceAccountToken {
		t.Errorf("%s: a token of the cluster is mounted", m.name)
	}
	if s := pod.SecurityContext; s == nil || s.RunAsNonRoot == nil || !*s.RunAsNonRoot || s.RunAsUser == nil || *s.RunAsUser != 65532 || s.SeccompProfile == nil {
		t.Errorf("%s: runs as it likes", m.name)
	}
	volumes := map[string]bool{}
	for _, v := range pod.Volumes {
		volumes[v.Name] = true
	}
	for _, c := range pod.Containers {
		if s := c.SecurityContext; s == nil || s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem || s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation ||
			s.Capabilities == nil || !slices.Contains(s.Capabilities.Drop, "ALL") {
			t.Errorf("%s: container %s may more than it needs", m.name, c.Name)
		}
		if c.Resources.Requests.Cpu().IsZero() || c.Resources.Limits.Memory().IsZero() {
			t.Errorf("%s: container %s has no bounds", m.name, c.Name)
		}
		if m.kind != "Job" && !strings.Contains(m.name, "site") && (c.ReadinessProbe == nil || c.LivenessProbe == nil) {
			t.Errorf("%s: container %s is not probed", m.name, c.Name)
		}
		for _, e := range c.Env {
			secret := regexp.MustCompile(`(PASSWORD|TOKEN|SECRET|DSN|DSNS|ACCESS_KEY_ID|ACCESS_KEY|PIN)$`).MatchString(e.Name)
			if secret && e.Value != "" {
				t.Errorf("%s: %s is written out", m.name, e.Name)
			}
		}
		for _, v := range c.VolumeMounts {
			if m.kind != "StatefulSet" && !volumes[v.Name] {
				t.Errorf("%s: volume %s is mounted and not there", m.name, v.Name)
			}
		}
	}
}

// The schema refuses what would be found out only in the cluster.
func TestSchemaRefuses(t *testing.T) {
	for name, change := range map[string]func(map[string]any){
		"an unknown name":          func(v map[string]any) { v["replicass"] = 2 },
		"no database":              func(v map[string]any) { v["postgres"] = map[string]any{} },
		"a secret that is written": func(v map[string]any) { v["postgres"] = map[string]any{"dsn": "postgres://u:p@h/d"} },
		"no regions":               func(v map[string]any) { v["regions"] = []any{} },
		"an environment":           func(v map[string]any) { v["environment"] = "production" },
	} {
		given := values(t, filepath.Join(folder, "ci", "small.yaml"))
		change(given)
		if _, err := render(t, given); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}
