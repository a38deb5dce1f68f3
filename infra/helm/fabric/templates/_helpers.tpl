{{- define "fabric.labels" -}}
app.kubernetes.io/name: fabric
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- with .name }}
fabric.dev/process: {{ . }}
{{- end }}
{{- with .region }}
fabric.dev/region: {{ . }}
{{- end }}
{{- end }}

{{- define "fabric.allLabels" -}}
{{ include "fabric.labels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{- define "fabric.image" -}}
{{- $i := .root.Values.image -}}
{{- with $i.registry }}{{ . }}/{{ end }}{{ .program }}:{{ $i.tag | default .root.Chart.AppVersion }}
{{- end }}

{{- define "fabric.regions" -}}
{{- $names := list }}{{ range .Values.regions }}{{ $names = append $names .name }}{{ end }}{{ join "," $names }}
{{- end }}

{{- define "fabric.urls" -}}
{{- $root := .root }}{{ $all := list }}{{ $kind := .kind }}{{ $port := .port }}
{{- range $root.Values.regions }}{{ $all = append $all (printf "%s=http://%s-%s-%s:%d" .name $root.Release.Name $kind .name (int $port)) }}{{ end }}
{{- join "," $all }}
{{- end }}

{{- define "fabric.mirrors" -}}
{{- $all := list }}{{ range .Values.regions }}{{ if .mirror }}{{ $all = append $all (printf "%s=%s" .name .mirror) }}{{ end }}{{ end }}{{ join "," $all }}
{{- end }}

{{/* Whose signature counts, and whose tokens: every process. */}}
{{- define "fabric.trustEnv" -}}
- {name: FABRIC_ENV, value: {{ .Values.environment }}}
- {name: SIMULATION_MODE, value: {{ .Values.simulation | quote }}}
- {name: FABRIC_TRUST_POLICY, value: /etc/fabric/trust/policy.jsonl}
- name: FABRIC_TRUST_ROOT
  valueFrom: {secretKeyRef: {name: {{ .Values.secrets.trust }}, key: root}}
- {name: FABRIC_API_URL, value: "http://{{ .Release.Name }}-api:9000"}
- {name: FABRIC_ISSUER, value: {{ .Values.oidc.issuer | quote }}}
- {name: FABRIC_JWKS, value: {{ .Values.oidc.jwks | quote }}}
{{- range $name, $value := .Values.extraEnv }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end }}

{{- define "fabric.databaseEnv" -}}
- name: POSTGRES_DSN
  valueFrom: {secretKeyRef: {name: {{ .Values.postgres.secret }}, key: {{ .Values.postgres.key }}}}
{{- with .Values.postgres.replicasKey }}
- name: POSTGRES_REPLICA_DSNS
  valueFrom: {secretKeyRef: {name: {{ $.Values.postgres.secret }}, key: {{ . }}}}
{{- end }}
{{- end }}

{{- define "fabric.snapshotEnv" -}}
- {name: FABRIC_SNAPSHOT_URL, value: "http://{{ .Release.Name }}-api:9000"}
- {name: FABRIC_SNAPSHOT_TOKEN_FILE, value: /run/fabric/snapshot/token}
{{- end }}

{{/* The servers that the control plane and its workers use. */}}
{{- define "fabric.backendEnv" -}}
{{ include "fabric.trustEnv" . }}
{{ include "fabric.databaseEnv" . }}
- {name: FABRIC_HOST, value: 0.0.0.0}
- {name: FABRIC_REGIONS, value: {{ include "fabric.regions" . | quote }}}
- {name: FABRIC_ROUTER_URL, value: "http://{{ .Release.Name }}-router:9004"}
- {name: TEMPORAL_ADDRESS, value: {{ .Values.temporal.address | quote }}}
- {name: TEMPORAL_NAMESPACE, value: {{ .Values.temporal.namespace | quote }}}
- {name: GLOBAL_REGISTRY_URL, value: {{ .Values.registry.url | quote }}}
- {name: GLOBAL_S3_ENDPOINT, value: {{ .Values.s3.endpoint | quote }}}
- name: AWS_ACCESS_KEY_ID
  valueFrom: {secretKeyRef: {name: {{ .Values.s3.secret }}, key: access-key}}
- name: AWS_SECRET_ACCESS_KEY
  valueFrom: {secretKeyRef: {name: {{ .Values.s3.secret }}, key: secret-key}}
- {name: NEURAL_FABRIC_URL, value: {{ include "fabric.urls" (dict "root" . "kind" "runtime" "port" 9101) | quote }}}
- {name: FABRIC_WITNESS_URL, value: {{ include "fabric.urls" (dict "root" . "kind" "worker" "port" 9060) | quote }}}
{{- with include "fabric.mirrors" . }}
- {name: FABRIC_MIRRORS, value: {{ . | quote }}}
{{- end }}
{{- end }}

{{/* What every pod of ours has. */}}
{{- define "fabric.podSecurity" -}}
serviceAccountName: {{ .Release.Name }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext: {runAsNonRoot: true, runAsUser: 65532, runAsGroup: 65532, fsGroup: 65532, seccompProfile: {type: RuntimeDefault}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets: [{{ range . }}{name: {{ . }}},{{ end }}]
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{ toJson . }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{ toJson . }}
{{- end }}
{{- end }}

{{- define "fabric.containerSecurity" -}}
securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
{{- end }}

{{/*
fabric.process is one process with its own state: a StatefulSet, its Service, and
a PodDisruptionBudget where there is more than one of it.
root, component, region, name, program, args, of (values), replicas, ports
(name: number), probe {ready, live, port}, env, secrets (mount: secret), grace
*/}}
{{- define "fabric.process" -}}
{{- $full := printf "%s-%s" .root.Release.Name .name }}
{{- if .ports }}
---
apiVersion: v1
kind: Service
metadata:
  name: {{ $full }}
  labels: {{- include "fabric.allLabels" . | nindent 4 }}
spec:
  selector: {{- include "fabric.labels" . | nindent 4 }}
  ports:
    {{- range $name, $port := .ports }}
    - {name: {{ $name }}, port: {{ $port }}, targetPort: {{ $name }}}
    {{- end }}
{{- end }}
---
apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: {{ $full }}
  labels: {{- include "fabric.allLabels" . | nindent 4 }}
spec:
  serviceName: {{ $full }}
  replicas: {{ .replicas }}
  podManagementPolicy: Parallel
  selector:
    matchLabels: {{- include "fabric.labels" . | nindent 6 }}
  template:
    metadata:
      labels: {{- include "fabric.allLabels" . | nindent 8 }}
    spec:
      {{- include "fabric.podSecurity" .root | nindent 6 }}
      terminationGracePeriodSeconds: {{ .grace | default 30 }}
      {{- if gt (int .replicas) 1 }}
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels: {{- include "fabric.labels" . | nindent 14 }}
      {{- end }}
      containers:
        - name: {{ .program }}
          image: {{ include "fabric.image" . | quote }}
          imagePullPolicy: {{ .root.Values.image.pullPolicy }}
          args: {{ toJson .args }}
          {{- include "fabric.containerSecurity" .root | nindent 10 }}
          resources: {{ toJson .of.resources }}
          env:
            {{- .env | trim | nindent 12 }}
          {{- with .ports }}
          ports:
            {{- range $name, $port := . }}
            - {name: {{ $name }}, containerPort: {{ $port }}}
            {{- end }}
          {{- end }}
          {{- with .probe }}
          startupProbe: {httpGet: {path: {{ .ready }}, port: {{ .port }}}, periodSeconds: 2, failureThreshold: 60}
          readinessProbe: {httpGet: {path: {{ .ready }}, port: {{ .port }}}, periodSeconds: 5, timeoutSeconds: 3}
          {{- if .live }}
          livenessProbe: {httpGet: {path: {{ .live }}, port: {{ .port }}}, periodSeconds: 10, timeoutSeconds: 3, failureThreshold: 6}
          {{- else }}
          livenessProbe: {tcpSocket: {port: {{ .port }}}, periodSeconds: 10, timeoutSeconds: 3, failureThreshold: 6}
          {{- end }}
          {{- end }}
          volumeMounts:
            - {name: state, mountPath: /var/lib/fabric}
            {{- range $mount, $secret := .secrets }}
            - {name: {{ base $mount }}, mountPath: {{ $mount }}, readOnly: true}
            {{- end }}
            {{- with .data }}
            - {name: data, mountPath: /data, readOnly: true}
            {{- end }}
      volumes:
        {{- range $mount, $secret := .secrets }}
        - {name: {{ base $mount }}, secret: {secretName: {{ $secret }}, defaultMode: 0440}}
        {{- end }}
        {{- with .data }}
        - {name: data, persistentVolumeClaim: {claimName: {{ . }}, readOnly: true}}
        {{- end }}
  volumeClaimTemplates:
    - metadata: {name: state}
      spec:
        accessModes: [ReadWriteOnce]
        {{- with .root.Values.storageClass }}
        storageClassName: {{ . }}
        {{- end }}
        resources: {requests: {storage: {{ .of.storage }}}}
{{- if gt (int .replicas) 1 }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ $full }}
  labels: {{- include "fabric.allLabels" . | nindent 4 }}
spec:
  maxUnavailable: 1
  selector:
    matchLabels: {{- include "fabric.labels" . | nindent 6 }}
{{- end }}
{{- end }}
