r"""The equation of each trick in LaTeX, as its page shows it, in the letters of the field `Equation:` of its file.

A line wider than some 30 signs does not fit a telephone: break it with `aligned`. Tests check that none is missing and
that all parse.
"""

EQUATIONS: dict[str, str] = {
    # data
    "BoxCrop": r"\begin{aligned} (x, y)' &= \left( \tfrac{x - \mathit{left}}{u_1},\, \tfrac{y - \mathit{top}}{u_2}"
    r"\right) \\ u_1, u_2 &\sim U(\mathit{scale}, 1) \end{aligned}",
    "BoxFlip": r"\begin{aligned} x'_{rc} &= x_{r,\, W - 1 - c} \\ (x_1, x_2)' &= (W - x_2,\, W - x_1) \end{aligned}",
    "ChannelOrder": r"x'_c = x_{\pi(c)} \text{ with probability } p,\quad \pi \sim U(S_C)",
    "CopyPaste": r"x' = a \odot x_\pi + (1 - a) \odot x,\quad a = \bigcup_k \mathit{box}_k",
    "CutMix": r"\begin{aligned} x' &= M \odot x + (1 - M) \odot x_\pi \\ y' &= \lambda y + (1 - \lambda)\, y_\pi,"
    r"\quad \lambda = \overline{M} \end{aligned}",
    "Cutout": r"x'_{ij} = \begin{cases} 0 & |i - r| \lesssim L/2,\ |j - c| \lesssim L/2 \\ x_{ij} & \text{else}"
    r"\end{cases}",
    "ElasticDeformation": r"\begin{aligned} x'(q) &= x(q + d(q)) \\ d &= \alpha\, G_\sigma * u,\quad u \sim U(-1, 1)"
    r"\end{aligned}",
    "GaussianNoise": r"x' = x + \sigma z,\quad z \sim N(0, 1)",
    "GridMask": r"x' = M_{d,\,l,\,\delta,\,\theta} \odot x,\quad l = \lceil r d \rceil",
    "MixUp": r"\begin{aligned} x' &= \lambda x + (1 - \lambda)\, x_\pi \\ y' &= \lambda y + (1 - \lambda)\, y_\pi \\"
    r"\lambda &\sim \mathrm{Beta}(\alpha, \alpha) \end{aligned}",
    "MixUpOrCutMix": r"(x', y') = \begin{cases} \mathrm{CutMix}(x, y) & \text{with probability } p s \\"
    r"\mathrm{MixUp}(x, y) & p (1 - s) \\ (x, y) & 1 - p \end{cases}",
    "Mosaic": r"x' = \begin{pmatrix} x & x_{\pi_1} \\ x_{\pi_2} & x_{\pi_3} \end{pmatrix},\quad y' = \sum_k s_k y_k",
    "MultiScale": r"\mathit{side}' = m \left\lfloor \tfrac{u \cdot \mathit{side}}{m} \right\rceil,\quad "
    r"u \sim U(\mathit{low}, \mathit{high})",
    "ProgressiveResizing": r"\mathit{side}'_t = m \left\lfloor \tfrac{s(t) \cdot \mathit{side}}{m} \right\rceil,\quad "
    r"s: \tfrac12 \nearrow 1",
    "RICAP": r"\begin{aligned} x' &= \begin{pmatrix} \tilde x_{\pi_1} & \tilde x_{\pi_2} \\"
    r"\tilde x_{\pi_3} & \tilde x_{\pi_4} \end{pmatrix} \\ y' &= \sum_k W_k\, y_{\pi_k} \end{aligned}",
    "RandomErasing": r"\begin{aligned} x'_{ij} &= \text{noise in } h \times w \text{ px} \\ h &= \sqrt{a r},\quad "
    r"w = \sqrt{a / r} \end{aligned}",
    "WorstOf": r"x' = T(x, \theta_i),\quad i = \arg\max_{i \le k} E(f(T(x, \theta_i)), t)",
    # diagnostics
    "Calibration": r"\mathrm{ECE} = \sum_m \frac{|B_m|}{n} \left| \mathrm{acc}(B_m) - \mathrm{conf}(B_m) \right|",
    "Checklist": r"\text{all checks pass} = \bigwedge_i \text{check}_i",
    "DeadUnits": r"\mathit{dead} = \frac1C \sum_c \left[ \max_{n,i,j} a_{ncij} = 0 \right]",
    "FitVerdict": r"\mathit{change} = \frac{\text{slope} \cdot (T - 1)}{\max_t L_t - \min_t L_t}",
    "GradientFlow": r"g_i = \left\| \frac{\partial L}{\partial w_i} \right\|_2 \in [\mathit{low}, \mathit{high}]",
    "InitialLoss": r"-\log \mathrm{softmax}(z)_y \approx \ln K",
    "LearningRateRange": r"\begin{aligned} \eta_t &= \mathit{low} \left( \mathit{high} / \mathit{low} \right)^{t / T}"
    r"\\ \eta^* &= \arg\min_{\eta_t} \frac{d l}{d \ln \eta} \end{aligned}",
    "NaNGuard": r"\text{stop at step } t \text{ if } L_t \notin \mathbb{R}",
    "NoisyLabels": r"\mathit{fitted} = \overline{\left[ \arg\max_k f(x_i)_k = \tilde y_i \right]},\quad "
    r"\tilde y_i \neq y_i",
    "OverfitSamples": r"\frac1n \sum_{i=1}^{n} \left[ \arg\max_k f(x_i)_k = y_i \right] = 1",
    "Retrieval": r"\mathrm{MAP@R} = \frac1R \sum_{i \le R} P(i)\, \mathrm{rel}(i)",
    "ShuffledLabels": r"\begin{aligned} b(z) &= p + z \sqrt{p (1 - p) / n} \\"
    r"\mathit{acc}_{\mathrm{train}} &> \max(2 p, b(5)) \\ \mathit{acc}_{\mathrm{val}} &< b(3) \end{aligned}",
    "UpdateRatio": r"r_i = \frac{\|w_i' - w_i\|_2}{\|w_i\|_2} \approx 10^{-3}",
    # distillation
    "AttentionTransfer": r"\begin{aligned} Q &= \mathrm{vec}\, F(A),\quad F(A) = \textstyle\sum_c |A_c|^p \\"
    r"L' &= L + \beta \sum_j \overline{\left( \tfrac{Q_S^j}{\|Q_S^j\|} - \tfrac{Q_T^j}{\|Q_T^j\|} \right)^2}"
    r"\end{aligned}",
    "CachedLogits": r"\begin{aligned} L' &= (1 - a)\, \mathrm{CE}(y, z) \\ &\quad + a\, T^2\, \mathrm{KL}\left("
    r"\sigma(v / T) \,\|\, \sigma(z / T) \right) \end{aligned}",
    "GradientAttentionTransfer": r"\begin{aligned} L' &= L + \frac\beta2 \left\| J_S - J_T \right\|_2^2 \\"
    r"J &= \frac{\partial L(W, x)}{\partial x} \end{aligned}",
    "Hints": r"D = \sum_j \overline{\left( u_j - r_j(v_j) \right)^2},\quad L' = L + w D",
    "KnowledgeDistillation": r"\begin{aligned} L' &= (1 - a)\, \mathrm{CE}(y, z) \\ &\quad + a\, T^2\, \mathrm{KL}"
    r"\left( \sigma(v / T) \,\|\, \sigma(z / T) \right) \end{aligned}",
    "SelfDistillation": r"\begin{aligned} L' &= L + w\, \overline{\left( \sigma(z) - \sigma(z') \right)^2} \\"
    r"\theta' &\leftarrow d\, \theta' + (1 - d)\, \theta \end{aligned}",
    "Specialist": r"\begin{aligned} s(z) &= \left( z_{k \in S},\ \log \textstyle\sum_{k \notin S} e^{z_k} - \log r"
    r"\right) \\ L' &= \tfrac1N \sum_n w_n\, \mathrm{CE}(y_n, s(z_n)) \\ &\quad + a\, T^2\, \mathrm{KL}_{k \notin S}"
    r"\left( \sigma(v / T) \,\|\, \sigma(z / T) \right) \end{aligned}",
    "SymmetryAttention": r"\begin{aligned} L' &= L + \frac\beta2 \left\| J(x) - \mathrm{flip}\, J(\mathrm{flip}\, x)"
    r"\right\|_2^2 \\ J(x) &= \frac{\partial L(W, x)}{\partial x} \end{aligned}",
    "TokenDistillation": r"\begin{aligned} L' &= L + a\, \mathrm{KL}\left( \sigma(v) \,\|\, \sigma(z) \right) \\"
    r"&\quad + b\, \frac{\sum_{ni} D_{ni}\, \overline{(t_{ni} - t'_{ni})^2}}{\sum_{ni} D_{ni}} \end{aligned}",
    # dropout
    "ADCM": r"\begin{aligned} y &= s \odot m \odot x \\ s &= \sigma(F(\mathit{avg}) + F(\mathit{max}) +"
    r"F(\mathit{stoch})) \end{aligned}",
    "ADL": r"\begin{aligned} a &= \tfrac1C \textstyle\sum_c x_c \\ y &= \begin{cases} x \odot [a < \theta \max a] &"
    r"\text{with probability } p \\ x \odot \sigma(a) & \text{else} \end{cases} \end{aligned}",
    "AttentionPatchDropout": r"\begin{aligned} a_i &= \tfrac1H \textstyle\sum_h \mathrm{softmax}_i(q K^\top / \sqrt d)"
    r"\\ \mathit{kept} &= \mathrm{top}_K \left( \pm \log a_i / \tau + g_i \right) \end{aligned}",
    "AutoDropout": r"y = x \odot m \cdot \frac{|m|}{\sum m}",
    "BiasedDropout": r"\begin{aligned} y_i &= \frac{m_i x_i}{1 - p_i},\quad m_i \sim \mathrm{Bernoulli}(1 - p_i) \\"
    r"p_i &= p \mp d \text{ for the larger, smaller half} \end{aligned}",
    "ChannelDropBlock": r"y_c = \begin{cases} 0 & c \text{ among the } p C \text{ nearest to } c_0 \\ \frac{x_c}{1 - p}"
    r"& \text{else} \end{cases}",
    "ClusteringDropConnect": r"\begin{aligned} y &= \tfrac{M \odot W}{1 - p}\, x + b \\ p_k &= \mathit{low} +"
    r"(\mathit{high} - \mathit{low})\, \tfrac{\max g - g_k}{\max g - \min g} \end{aligned}",
    "ClusteringDropout": r"\begin{aligned} p_k &= l + (h - l) \frac{\max g - g_k}{\max g - \min g} \\ y_i &="
    r"\frac{m_i x_i}{1 - p_{k(i)}} \end{aligned}",
    "CorrDrop": r"\begin{aligned} F_i &= \overline{\left| \cos(a_i, a_j) - \delta_{ij} \right|} \\ M_i &\sim"
    r"\mathrm{Bernoulli}\left( \mathrm{softmax}(F / T)_i \right) \\ \mathit{kept}_i &= M_i \lor B_i,\quad B_i \sim"
    r"\mathrm{Bernoulli}(1 - \hat p) \end{aligned}",
    "CrossmapDropout": r"y_{cij} = \frac{m_{ij}\, x_{cij}}{1 - p},\quad m_{ij} \sim \mathrm{Bernoulli}(1 - p)",
    "DropBlock": r"\begin{aligned} y &= x \odot M \cdot \frac{|M|}{\sum M} \\ \gamma &= \frac{p}{b^2}"
    r"\frac{H W}{(H - b + 1)(W - b + 1)} \end{aligned}",
    "DropConnect": r"y = \frac{(M \odot W)\, x}{1 - p} + b,\quad M \sim \mathrm{Bernoulli}(1 - p)",
    "DropHead": r"o'_h = \xi_h\, o_h \frac{H}{\sum_h \xi_h},\quad \xi_h \sim \mathrm{Bernoulli}(1 - p)",
    "Dropout": r"y = \frac{m \odot x}{1 - p},\quad m \sim \mathrm{Bernoulli}(1 - p)",
    "FocusedDropout": r"y = x \odot m,\quad m_{ij} = \left[ c_{ij} > \gamma \max c \right]",
    "GatingDropout": r"y = \begin{cases} g_r E_r(x) & \text{with probability } p \\ g_e E_e(x),\ e = \arg\max g &"
    r"\text{else} \end{cases}",
    "GaussianDropout": r"y = x (1 + \sigma n),\quad n \sim N(0, 1),\quad \sigma^2 = \frac{p}{1 - p}",
    "GuidedDropout": r"z = t \odot m \odot x,\quad m_i = 0 \text{ for the largest } |t_i|",
    "HeuristicDropout": r"m_c = e_c + \frac{k}{v_c + 10^{-7}},"
    r"\quad y_c = \begin{cases} \Lambda * x_c & m_c \text{ large}"
    r"\\ x_c & \text{else} \end{cases}",
    "KeepRate": r"\begin{aligned} \kappa_t &= \kappa + \frac{1 - \kappa}{2} \left( 1 + \cos \pi \frac{t - t_0}{t_1 -"
    r"t_0} \right) \\ &\qquad t_0 \le t \le t_1 \end{aligned}",
    "Maxout": r"h_i = \max_{j \le k} z_{ij},\quad z_{ij} = x^\top W_{ij} + b_{ij}",
    "NeuronSpecificDropout": r"\begin{aligned} d_c &= \overline{x}_c - \overline{x}_c^{\,\text{held out}} \\ y_i &="
    r"\begin{cases} 0 & d_{c,i} \text{ among the } p D \text{ largest} \\ \frac{x_i}{1 - p} & \text{else}"
    r"\end{cases} \end{aligned}",
    "PatchDropout": r"\{x_1, \dots, x_L\} \to \{x_{i_1}, \dots, x_{i_K}\},\quad K = \lfloor \mathit{keep}\, L \rfloor",
    "ProbDropBlock": r"\begin{aligned} \gamma_{ij} &= \min\left( 1, \frac{p}{a} \frac{|x_{ij}|}{\overline{|x|}}"
    r"\right) \\ y &= x \odot M \cdot \frac{|M|}{\sum M} \end{aligned}",
    "SpatialDropout": r"y_c = \frac{m_c\, x_c}{1 - p},\quad m_c \sim \mathrm{Bernoulli}(1 - p)",
    "SpectralDropout": r"\begin{aligned} c &= D x,\quad c'_k = \begin{cases} c_k & |c_k| > \tau \\ m_k c_k &"
    r"\text{else} \end{cases} \\ y &= D^\top c' \end{aligned}",
    "StochasticDepth": r"\begin{aligned} y &= x + \frac{b_l}{1 - p_l} F_l(x) \\ b_l &\sim \mathrm{Bernoulli}(1 - p_l),"
    r"\quad p_l = \tfrac{l}{L}\, p \end{aligned}",
    "StructuralDropout": r"y_i = \begin{cases} x_i\, D / c & i < c \\ 0 & \text{else} \end{cases}",
    "SubtreeDropout": r"\begin{aligned} y_m &= \delta_m g_m\, y_l + (1 - \delta_m g_m)\, y_r \\ \delta_m &\sim"
    r"\mathrm{Bernoulli}(1 - p) \end{aligned}",
    "UniformDropout": r"\begin{aligned} y &= x \left( 1 + b (2 u - 1) \right),\quad u \sim U(0, 1) \\ b &="
    r"\sqrt{3 p / (1 - p)} \end{aligned}",
    "WeightedChannelDropout": r"\begin{aligned} s_c &= \overline{x_c},\quad \mathit{drawn} = \mathrm{top}\, r_c^{1 /"
    r"s_c} \\ y_c &= \alpha x_c,\quad \alpha = \frac{\sum s}{\sum_{\mathit{drawn}} s} \end{aligned}",
    # loss
    "AuxiliaryHeads": r"L' = L(z) + w \sum_j L(z_j),\quad z_j = A_j \overline{F_j} + b_j",
    "BinaryCrossEntropy": r"\begin{aligned} q &= (1 - \epsilon)\, t + \epsilon / K \\ L &= -\tfrac1K \sum_k"
    r"\big( q_k \log \sigma(z_k) \\ &\qquad + (1 - q_k) \log(1 - \sigma(z_k)) \big) \end{aligned}",
    "BoxLoss": r"L = L_{\mathrm{class}} + \dots + w \sum_i w_i\, l(b_i, t_i)",
    "CircleLoss": r"\begin{aligned} L = \log \Big( 1 &+ \sum_j e^{\gamma a_n^j (s_n^j - m)} \\ &\times \sum_i"
    r"e^{-\gamma a_p^i (s_p^i - 1 + m)} \Big) \end{aligned}",
    "ClassBalanced": r"E_k = \frac{1 - \beta^{n_k}}{1 - \beta},\quad w_k = \frac{K / E_k}{\sum_j 1 / E_j}",
    "ConfidencePenalty": r"L' = L - \beta H(p),\quad H(p) = -\sum_k p_k \log p_k",
    "Dice": r"\begin{aligned} D_k &= \frac{2 \sum p_k y_k + 2 s}{\sum p_k + \sum y_k + 2 s} \\ L &= 1 - \overline{D}"
    r"\end{aligned}",
    "ExpertBalance": r"L' = L + \alpha \sum_{\text{layers}} E \sum_e f_e P_e",
    "Flooding": r"L' = |L - b| + b",
    "FocalLoss": r"L = -\sum_k \alpha_k\, y_k (1 - p_k)^\gamma \log p_k",
    "GeneralizedCrossEntropy": r"L_q = \sum_k y_k \frac{1 - p_k^q}{q}",
    "L1": r"L' = L + \lambda \sum_i |w_i|",
    "L2": r"L' = L + \frac\lambda2 \sum_i w_i^2",
    "LabelSmoothing": r"q = (1 - \epsilon)\, y + \frac{\epsilon}{K},\quad L = -\sum_i q_i \log p_i",
    "Orthogonality": r"L' = L + \lambda \sum_W \left\| W^\top W - I \right\|_F^2",
    "RDrop": r"\begin{aligned} L' = L + \frac\alpha2 \big( &\mathrm{KL}(p_1 \,\|\, p_2) \\ + {} &\mathrm{KL}(p_2 \,\|\,"
    r"p_1) \big) \end{aligned}",
    "SSIM": r"\begin{aligned} S &= \frac{(2 m_p m_y + c_1)(2 s_{py} + c_2)}{(m_p^2 + m_y^2 + c_1)(s_p^2 + s_y^2 + c_2)}"
    r"\\ L' &= L + w\, (1 - \overline{S}) \end{aligned}",
    "SelfOrganizingMemory": r"\begin{aligned} z &= \arg\max_l \sum_j G_{lj} \cos(h, k_j) \\"
    r"w_c &\propto \frac{V_{zc}}{\sum_k V_{zk}} \cdot \frac{V_{zc}}{\sum_l V_{lc}},\quad g_c = \sum w_c h \\"
    r"L &= -\overline{\log \sigma(W g_c + b)_c} \end{aligned}",
    "TokenLabeling": r"L = H(x_{\mathrm{cls}}, y_{\mathrm{cls}}) + \frac\beta L \sum_i H(x_i, y_i)",
    "TokenRatio": r"L' = L + \frac\lambda S \sum_s \overline{\Big( \rho_s - \tfrac1L \sum_i D^s_{i} \Big)^2}",
    "Tversky": r"\begin{aligned} T_k &= \frac{\mathit{tp}_k + s}{\mathit{tp}_k + \alpha\, \mathit{fp}_k + \beta\,"
    r"\mathit{fn}_k + s} \\ \mathit{tp}_k &= \textstyle\sum p_k y_k,\quad L = 1 - \overline{T} \end{aligned}",
    # network
    "Activation": r"\begin{aligned} \mathrm{silu}(x) &= x\, \sigma(x) \\ \mathrm{gelu}(x) &= x\, \Phi(x) \\"
    r"\mathrm{mish}(x) &= x \tanh \ln(1 + e^x) \end{aligned}",
    "CrossIterationBatchNorm": r"\begin{aligned} \mu &= \frac1k \sum_{i<k} \mu_{t-i}(W_t) \\"
    r"\mu_{t-i}(W_t) &= \mu_{t-i} + \left\langle \tfrac{\partial \mu_{t-i}}{\partial W}, W_t - W_{t-i} \right\rangle"
    r"\end{aligned}",
    "CrossMiniBatchNorm": r"m \leftarrow \tfrac1j m_j + \left( 1 - \tfrac1j \right) m",
    "DilatedConvolutions": r"y(p) = \sum_{i,j=-1}^{1} w_{ij}\, x(p + r\, (i, j))",
    "FrozenBatchNorm": r"y = \gamma \frac{x - m}{\sqrt{v + \epsilon}} + \beta",
    "Kaiming": r"w \sim N\left( 0, \frac{2}{\mathit{fan}} \right),"
    r"\quad \mathit{fan}_{\mathrm{in}} = k^2 C_{\mathrm{in}}",
    "LeCun": r"w \sim N\left( 0, \frac{1}{k^2 C_{\mathrm{in}}} \right)",
    "MagnitudePruning": r"s_t = s_f - s_f \left( 1 - \frac{t - t_0}{t_1 - t_0} \right)^3",
    "Norm": r"y = \gamma \frac{x - \mathrm{E}[x]}{\sqrt{\mathrm{Var}[x] + \epsilon}} + \beta",
    "Slimming": r"L' = L + \lambda \sum |\gamma|",
    "SpatialPyramidPooling": r"b^n_{ij} = \max_{r, c} x_{rc},\quad \begin{aligned} r &\in \left[ \lfloor iH/n \rfloor,"
    r"\lceil (i+1)H/n \rceil \right) \\ c &\in \left[ \lfloor jW/n \rfloor, \lceil (j+1)W/n \rceil \right)"
    r"\end{aligned}",
    "StochasticPooling": r"p_i = \frac{a_i}{\sum_k a_k},\quad s = a_l,\ l \sim p",
    "SyncBatchNorm": r"y = \gamma \frac{x - m}{\sqrt{v + \epsilon}} + \beta,\quad m, v \text{ of all GPUs}",
    "TestTimeAugmentation": r"p(x) = \frac1V \sum_v \mathrm{softmax}\, f(x_v)",
    "Uniform": r"w, b \sim U\left[ -\frac{1}{\sqrt d}, \frac{1}{\sqrt d} \right],\quad d = k^2 C_{\mathrm{in}}",
    "Xavier": r"w \sim U[-a, a],\quad a = \sqrt{\frac{6}{\mathit{fan}_{\mathrm{in}} + \mathit{fan}_{\mathrm{out}}}}",
    "ZeroGamma": r"y = x + \mathrm{BN}(F(x)),\quad \mathrm{BN}(z) = \gamma \hat z + \beta,\ \gamma_0 = 0",
    "ZeroLastConv": r"y = s(x) + W_L f_{L-1}(x) + b_L,\quad W_L = 0,\ b_L = 0",
    # optimization
    "AccumulationSchedule": r"g = \frac{1}{k_e} \sum_{i=1}^{k_e} g_i \text{ in epoch } e",
    "AdaptiveGradientClipping": r"G_i \leftarrow \min\left( 1, \lambda \frac{\max(|W_i|, \epsilon)}{|G_i|} \right) G_i",
    "CosineDecay": r"\eta_t = \eta \left( e + \frac{1 - e}{2} \left( 1 + \cos \frac{\pi t}{T} \right) \right)",
    "EMA": r"\theta' \leftarrow d\, \theta' + (1 - d)\, \theta",
    "EarlyStopping": r"\text{stop if } v_{t - i} \ge v^* - \delta \text{ for } i = 0, \dots, n - 1",
    "GradientCentralization": r"G_i \leftarrow G_i - \overline{G_i}",
    "GradientClipping": r"g \leftarrow g \min\left( 1, \frac{c}{\|g\|_2} \right)",
    "GradualUnfreezing": r"\text{at step } t:\ 1 + \lfloor t / k \rfloor \text{ parts learn},"
    r"\quad \eta_l = \eta_L / r^{L - l}",
    "LayerDecay": r"\eta_l = \eta\, \mathit{decay}^{\,n - l}",
    "LinearScaling": r"\eta' = \eta \frac{b}{256}",
    "MagnifiedWeightDecay": r"\lambda_t = \begin{cases} f \lambda & \text{with probability } p \\ \lambda & \text{else}"
    r"\end{cases}",
    "NoBiasDecay": r"\lambda_i = \begin{cases} \lambda & \dim w_i > 1 \\ 0 & \text{else} \end{cases}",
    "OneCycle": r"\begin{aligned} \eta_t &= b + \frac{a - b}{2} (1 + \cos \pi p) \\ (a, b) &= \left( \tfrac{\eta}{d},"
    r"\eta \right), \text{ then } \left( \eta, \tfrac{\eta}{d d'} \right) \end{aligned}",
    "PolyakAveraging": r"\theta' = \frac{1}{t - s + 1} \sum_{i=s}^{t} \theta_i",
    "PolynomialDecay": r"\eta_t = \eta \left( 1 - \frac tT \right)^{\mathit{power}}",
    "ReduceOnPlateau": r"\eta \leftarrow \gamma \eta \text{ after more than } n \text{ values} \ge v^* (1 - \tau)",
    "SWA": r"\theta' \leftarrow \frac{n\, \theta' + \theta}{n + 1}",
    "SnapshotEnsemble": r"\alpha(t) = \frac{\alpha_0}{2} \left( \cos \frac{\pi \left( (t - 1) \bmod \lceil T/M \rceil"
    r"\right)}{\lceil T/M \rceil} + 1 \right)",
    "SquareRootScaling": r"\eta' = \eta \sqrt{\frac{b}{256}}",
    "StepDecay": r"\eta_t = \eta\, \gamma^{\,n(t)},\quad n(t) = \#\{ \text{milestones} \le t \}",
    "StepThenCosine": r"\eta_t = \begin{cases} \eta\, \gamma^{n(t)} & t < s \\ \eta\, \gamma^{n(s)} \frac{1 + \cos \pi"
    r"\frac{t - s}{T - s}}{2} & t \ge s \end{cases}",
    "StepwiseCosine": r"\eta_t = \frac\eta2 \left( 1 + \cos \frac{\pi k \lfloor t / k \rfloor}{T} \right)",
    "WarmRestarts": r"\begin{aligned} \eta_t &= \frac\eta2 \left( 1 + \cos \frac{\pi T_{\mathrm{cur}}}{T_i} \right) \\"
    r"T_{i+1} &= T_{\mathrm{mult}}\, T_i \end{aligned}",
    "WarmUp": r"\eta_x = \frac{x + 1}{m}\, \eta,\quad x = 0, \dots, m - 1",
}
